"""A figure as a file."""

import io

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
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
    """A figure as a PNG file; the figure keeps this resolution."""
    buffer = io.BytesIO()
    figure.set_dpi(dpi)
    with any_script(figure):
        # savefig would draw it twice, the first time for the layout.
        FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()
