"""A page as one HTML file that contains all that it shows."""

import base64
import io
import re

from jinja2 import Environment, PackageLoader, select_autoescape
from matplotlib.figure import Figure
from PIL import Image

from tp1.base.names import printable_lines
from tp1.report.charts import library
from tp1.report.figure_files import plain_svg
from tp1.report.figures import OTHER, STYLES
from tp1.report.page import Page, Picture, image_type, numeric_columns
from tp1.report.texts import TEXTS

LARGE = 200_000  # bytes of a PNG that a page has as WebP, which is a fifth of it
# Colours of the figures, and the page's variables for them, whose values differ in the light and the dark scheme.
THEMED = {
    "#000000": "var(--ink)",
    "#3b4048": "var(--ink)",
    "#ffffff": "var(--paper)",
    "#8a8f98": "var(--soft)",
    "#c4c8ce": "var(--faint)",
    "#e6e8eb": "var(--line)",
    "#0f62ac": "var(--blue)",
    "#c2560a": "var(--orange)",
}


def to_html(page: Page) -> str:
    """Render the page as one HTML file that contains style, script and figures and loads nothing else."""
    environment = Environment(
        loader=PackageLoader("tp1.report"),
        autoescape=select_autoescape(),
        finalize=lambda value: printable_lines(value) if type(value) is str else value,  # Markup is our own
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "kind": lambda value: type(value).__name__,
        "svg": themed_svg,
        "data_uri": _data_uri,
        "numeric": numeric_columns,
        "texts": TEXTS[page.language]["page"],
        "styles": [*STYLES, (OTHER, "solid")],
        "in_script": lambda text: text.replace("<", "\\u003c"),  # JSON in a script element, which only a tag can end
    }
    charts = any(isinstance(block, Picture) and block.charts for section in page.sections for block in section.blocks)
    return environment.get_template("page.html").render(page=page, library=library() if charts else "")


def themed_svg(figure: Figure, name: str) -> str:
    """A figure as an SVG element in the page's colours and font."""
    text = plain_svg(figure, name, outlines=False).decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" role="img">', text, count=1)
    return re.sub("#[0-9a-f]{6}", lambda match: THEMED.get(match[0], match[0]), text)


def _data_uri(image: bytes) -> str:
    if len(image) > LARGE and image_type(image) == "png":
        buffer = io.BytesIO()
        Image.open(io.BytesIO(image)).save(buffer, "webp", quality=90)
        return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return f"data:image/{image_type(image)};base64,{base64.b64encode(image).decode()}"
