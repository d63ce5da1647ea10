"""A page of text, tables and figures, written as one self-contained HTML file or as Markdown.

All content of a page is plain text until it is rendered; each renderer escapes it.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from textwrap import indent
from urllib.parse import quote

import matplotlib as mpl
from jinja2 import Environment, PackageLoader, select_autoescape
from matplotlib.figure import Figure
from PIL import Image

from tp1.base.names import printable, printable_lines
from tp1.report.charts import Chart, library
from tp1.report.figures import OTHER, STYLES
from tp1.report.fonts import any_script
from tp1.report.texts import TEXTS

FIGURE_DPI = 150
SHEET_DPI = 90  # of images side by side
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


@dataclass(frozen=True)
class Code:
    """Text in a fixed-width font."""

    text: str


@dataclass(frozen=True)
class Link:
    """A link.

    Attributes:
        target: A URL, or a path relative to the page.
    """

    text: str
    target: str


@dataclass(frozen=True)
class Number:
    """A number: the text that is shown, and the value for sorting."""

    text: str
    value: float


Inline = str | Code | Link | Number


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of text."""

    parts: Sequence[Inline]


@dataclass(frozen=True)
class Command:
    """A command to copy.

    Attributes:
        text: The command.
        title: Text above the command.
        missing: Whether the page lacks something until the command is run.
    """

    text: str
    title: str = ""
    missing: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells. Columns of numbers are right-aligned; the first cell of a row names the row.

    Attributes:
        groups: Headings above the column headings, as (text, number of columns).
        keys: If given, one for each row: rows can be filtered and hidden, also from the charts of the same section
            whose data have these keys.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Inline]]
    caption: str = ""
    groups: Sequence[tuple[str, int]] = ()
    keys: Sequence[str] = ()


@dataclass(frozen=True)
class Folded:
    """A table that is hidden behind one line until the reader opens it."""

    title: str
    table: Table


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix: counts by true class (rows) and predicted class; ``figure`` shows the same counts."""

    name: str
    classes: Sequence[str]
    counts: Sequence[Sequence[int]]
    caption: str
    true: str
    predicted: str
    figure: Figure = field(compare=False, repr=False)


@dataclass(frozen=True)
class Picture:
    """A matplotlib figure.

    Attributes:
        name: Name of its file, without suffix.
        alt: Alternative text: what the figure shows.
        charts: Show the same; they stand in its place where scripts run, but not in print.
        legend: Whether the charts have a legend of the section's rows, which also switches them.
    """

    name: str
    figure: Figure = field(compare=False, repr=False)
    alt: str
    caption: str = ""
    charts: Sequence[Chart] = ()
    legend: bool = False


@dataclass(frozen=True)
class Photo:
    """A PNG image."""

    name: str
    png: bytes = field(repr=False)
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Tile:
    """An image with a model's prediction.

    Attributes:
        name: Name of the image.
        image: PNG or JPEG file.
        title: Emphasised text below the image, such as the class.
        share: 0 to 1, drawn as a bar.
        verdict: Whether the model is right; None if unknown.
        note: Further text.
        small: Whether the image is so small that single pixels should be visible.
    """

    name: str
    image: bytes = field(repr=False)
    title: str
    share: float
    verdict: bool | None
    note: str
    small: bool


@dataclass(frozen=True)
class Gallery:
    """Images side by side.

    Attributes:
        right, wrong: Text for each verdict.
        figure: Stands in the gallery's place in Markdown, which else has a file and a row for each image.
    """

    name: str
    tiles: Sequence[Tile]
    right: str = "right"
    wrong: str = "wrong"
    caption: str = ""
    figure: Figure | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Heading:
    """A heading within a section; ``anchor`` is unique on the page."""

    text: str
    anchor: str


Block = Heading | Paragraph | Command | Table | Folded | Matrix | Picture | Photo | Gallery


@dataclass(frozen=True)
class Section:
    """A heading and the blocks under it."""

    anchor: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        language: ``en`` or ``pt``.
        lead: Text under the title.
        broad: Whether it takes the whole width of a wide screen, for tables of many columns.
    """

    title: str
    language: str
    lead: Sequence[Inline]
    sections: Sequence[Section]
    broad: bool = False


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


def to_markdown(page: Page, pictures: str, form: str = "svg") -> tuple[str, dict[str, bytes]]:
    """Render the page as Markdown; return the text, and its figures by file name.

    Args:
        pictures: The folder of the figures, relative to the page.
        form: Of the figures, ``svg`` or ``png``.
    """
    lines = [f"# {escape_markdown(page.title)}", "", _paragraph(page.lead), ""]
    files: dict[str, bytes] = {}
    for section in page.sections:
        lines += [f"## {escape_markdown(section.title)}", ""]
        for block in section.blocks:
            lines += [*_block(block, pictures, form, files), ""]
    return "\n".join(lines).rstrip() + "\n", files


def relinked(page: Page, targets: Mapping[str, str]) -> Page:
    """The page with other targets for the links in its tables.

    Args:
        targets: New target by the present one; others stay.
    """

    def cell(part: Inline) -> Inline:
        return replace(part, target=targets.get(part.target, part.target)) if isinstance(part, Link) else part

    def block(one: Block) -> Block:
        return replace(one, rows=[[cell(part) for part in row] for row in one.rows]) if isinstance(one, Table) else one

    sections = [replace(one, blocks=[block(part) for part in one.blocks]) for one in page.sections]
    return replace(page, sections=sections)


def numeric_columns(table: Table) -> list[bool]:
    """Which columns hold numbers."""
    return [any(isinstance(row[place], Number) for row in table.rows) for place in range(len(table.columns))]


def plain_svg(figure: Figure, name: str) -> bytes:
    """A figure as an SVG file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    # Text as outlines, so that it looks the same without the fonts.
    with any_script(figure), mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def plain_png(figure: Figure, dpi: int = FIGURE_DPI) -> bytes:
    """A figure as a PNG file."""
    buffer = io.BytesIO()
    with any_script(figure):
        figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def themed_svg(figure: Figure, name: str) -> str:
    """A figure as an SVG element in the page's colours and font."""
    buffer = io.StringIO()
    with any_script(figure), mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" role="img">', text, count=1)
    return re.sub("#[0-9a-f]{6}", lambda match: THEMED.get(match[0], match[0]), text)


def _data_uri(image: bytes) -> str:
    if len(image) > LARGE and _image_type(image) == "png":
        buffer = io.BytesIO()
        Image.open(io.BytesIO(image)).save(buffer, "webp", quality=90)
        return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return f"data:image/{_image_type(image)};base64,{base64.b64encode(image).decode()}"


def _image_type(image: bytes) -> str:
    return "jpeg" if image.startswith(b"\xff\xd8") else "png"


def _block(block: Block, pictures: str, form: str, files: dict[str, bytes]) -> list[str]:
    if isinstance(block, Paragraph):
        return [_paragraph(block.parts)]
    if isinstance(block, Heading):
        return [f"### {escape_markdown(block.text)}"]
    if isinstance(block, Command):
        title = [_paragraph([block.title]), ""] if block.title else []
        return [*title, "```", printable_lines(block.text).replace("```", ""), "```"]
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Folded):
        summary = escape(printable(block.title))
        return [f"<details><summary>{summary}</summary>", "", *_table(block.table), "", "</details>"]
    if isinstance(block, Photo):
        files[f"{block.name}.png"] = block.png
        return [f"![{escape_markdown(block.alt)}]({pictures}/{block.name}.png)", *_caption(block.caption)]
    if isinstance(block, Gallery):
        return _gallery(block, pictures, files)
    file = f"{block.name}.{form}"
    files[file] = plain_svg(block.figure, block.name) if form == "svg" else plain_png(block.figure)
    alt = block.alt if isinstance(block, Picture) else block.caption
    caption = block.caption if isinstance(block, Picture) else ""
    return [f"![{escape_markdown(alt)}]({pictures}/{file})", *_caption(caption)]


def _gallery(gallery: Gallery, pictures: str, files: dict[str, bytes]) -> list[str]:
    if gallery.figure is not None:
        files[f"{gallery.name}.png"] = plain_png(gallery.figure, SHEET_DPI)
        return [f"![{escape_markdown(gallery.caption)}]({pictures}/{gallery.name}.png)", *_caption(gallery.caption)]
    lines = ["| | | | |", "|---|---|---:|---|"]
    for number, tile in enumerate(gallery.tiles):
        file = f"{gallery.name}-{number}.{_image_type(tile.image)}"
        files[file] = tile.image
        verdict = "" if tile.verdict is None else gallery.right if tile.verdict else gallery.wrong
        words = ", ".join(word for word in (verdict, tile.note) if word)
        cells = (
            f"![{escape_markdown(tile.name)}]({pictures}/{file})",
            escape_markdown(tile.title),
            f"{tile.share:.3f}",
            escape_markdown(words),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _caption(text: str) -> list[str]:
    return ["", f"*{escape_markdown(text).strip()}*"] if text.strip() else []


def _table(table: Table) -> list[str]:
    columns = list(table.columns)
    if table.groups:  # Markdown has one row of headings
        names = [name for name, width in table.groups for _ in range(width)]
        columns = [f"{name}: {column}" if name else column for name, column in zip(names, columns, strict=True)]
    return [
        "| " + " | ".join(escape_markdown(column) for column in columns) + " |",
        "|" + "|".join("---:" if right else "---" for right in numeric_columns(table)) + "|",
        *("| " + " | ".join(_inline([cell]) for cell in row) + " |" for row in table.rows),
        *_caption(table.caption),
    ]


def _paragraph(parts: Sequence[Inline]) -> str:
    """A Markdown paragraph, escaped so that its first characters start no list, rule, heading or code block."""
    text = _inline(parts).lstrip()
    return re.sub(r"^(\d*)([-+=.)])(?=\s|$|[-=])", r"\1\\\2", text)


def _inline(parts: Sequence[Inline]) -> str:
    return "".join(_one(part) for part in parts)


def _one(part: Inline) -> str:
    if isinstance(part, Link):
        return f"[{escape_markdown(part.text)}]({quote(part.target, safe='/:#?=&%@+,;~')})"
    if isinstance(part, Code):
        return f"`{printable(part.text).replace('`', chr(39)).replace('|', chr(92) + '|')}`" if part.text else ""
    return escape_markdown(part.text if isinstance(part, Number) else part)


def indented(command: str) -> str:
    """A command as an indented code block in Markdown; each line of a multi-line value is indented too."""
    return indent(printable_lines(command), "    ", lambda line: True)


def escape_markdown(text: str) -> str:
    """Escape plain text for Markdown: one line, without markup, HTML or table cells."""
    return re.sub(r"([\\`*_\[\]<>|#&~])", r"\\\1", printable(" ".join(text.splitlines())))
