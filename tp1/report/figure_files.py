"""A figure as a file."""

import io

import matplotlib as mpl
from matplotlib.figure import Figure

from tp1.report.fonts import any_script

FIGURE_DPI = 150


def plain_svg(figure: Figure, name: str, *, outlines: bool = True) -> bytes:
    """A figure as an SVG file; the same figure gives the same bytes.

    Args:
        name: Makes the file's ids, so that those of several figures differ.
        outlines: Text as outlines, so that it looks the same without the fonts; else as text.
    """
    buffer = io.BytesIO()
    with any_script(figure), mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "path" if outlines else "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def plain_png(figure: Figure, dpi: int = FIGURE_DPI) -> bytes:
    """A figure as a PNG file."""
    buffer = io.BytesIO()
    with any_script(figure):
        figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
