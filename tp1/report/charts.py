"""Charts that a reader can hover and zoom: the page carries their data, and BokehJS draws them in the browser.

Python's Bokeh is needed only where a page is made; nothing is requested when the page is read. Beside every chart
stands the static figure of the same values, for print and for readers without scripts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bokeh.models import CDSView, ColumnDataSource
    from bokeh.models.renderers import GlyphRenderer
    from bokeh.plotting import figure as Plot


@dataclass(frozen=True)
class Part:
    """A part of a chart that the reader can switch.

    Attributes:
        name: A word of its renderers' names: those whose words are all switched on are visible.
        is_shown: At first.
        colour: Of its lines, if they all have one.
    """

    name: str
    text: str
    is_shown: bool = True
    colour: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        json: What ``Bokeh.embed.embed_item`` takes; the same chart gives the same text.
        height: In pixels.
        min_width: In pixels; on a narrower page the reader scrolls it sideways.
        parts: What the reader can switch; of charts side by side, in all of them.
    """

    json: str = field(repr=False)
    height: int
    min_width: int
    parts: Sequence[Part] = ()


def library() -> str:
    """Return BokehJS, for a page that has charts: script without a closing tag in it."""
    from bokeh.resources import Resources

    return str(Resources("inline", components=["bokeh"]).js_raw[0])


def plain_plot(x: str, y: str, height: int = 320, **options: Any) -> Plot:
    """Return an empty plot with tools to zoom; the page's style sheet gives it colours and fonts.

    Args:
        x, y: Titles of the axes; empty for none.
        height: In pixels.
        options: Further ones of Bokeh's ``figure``.
    """
    from bokeh.models import BoxZoomTool, PanTool, PlainText, ResetTool, WheelZoomTool
    from bokeh.plotting import figure

    zoom = BoxZoomTool()
    plot = figure(
        tools=[zoom, PanTool(), WheelZoomTool(), ResetTool()],
        height=height,
        sizing_mode="stretch_width",
        toolbar_location="above",
        **options,
    )
    plot.toolbar.logo = None
    plot.toolbar.active_drag = zoom
    plot.xaxis.axis_label, plot.yaxis.axis_label = PlainText(text=x), PlainText(text=y)  # a string may be a formula
    return plot


def add_hover(plot: Plot, renderers: Sequence[GlyphRenderer[Any]], tooltip: str, **options: Any) -> None:
    """Show a tooltip over the shapes of some renderers.

    Args:
        tooltip: HTML; the values of ``@column`` are escaped by Bokeh.
    """
    from bokeh.models import HoverTool

    plot.add_tools(
        HoverTool(renderers=list(renderers), tooltips=f'<div class="tip">{tooltip}</div>', **({"limit": 1} | options))
    )


def source(columns: Mapping[str, Sequence[Any]]) -> ColumnDataSource:
    """Return a table for a chart; if it has a column ``key``, the page hides and shows its rows by that."""
    from bokeh.models import ColumnDataSource

    return ColumnDataSource({name: list(values) for name, values in columns.items()})


def view(rows: int) -> CDSView:
    """Return a view of all rows, whose booleans the page changes."""
    from bokeh.models import BooleanFilter, CDSView

    return CDSView(filter=BooleanFilter(booleans=[True] * rows))


def chart(plot: Plot, parts: Sequence[Part] = (), min_width: int = 0) -> Chart:
    """Return a finished plot as a chart with these parts."""
    from bokeh.embed import json_item

    item: dict[str, Any] = dict(json_item(plot))
    numbers: dict[str, str] = {}
    text = json.dumps(_renumbered(item, numbers), separators=(",", ":"), allow_nan=False)
    return Chart(text, plot.height or 0, min_width, parts)


def _renumbered(value: Any, numbers: dict[str, str]) -> Any:
    """The value with models numbered from 1: Bokeh counts them over the whole life of a process."""
    if isinstance(value, dict):
        return {
            key: numbers.setdefault(one, f"p{len(numbers) + 1}")
            if key in ("id", "root_id") and isinstance(one, str)
            else _renumbered(one, numbers)
            for key, one in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_renumbered(one, numbers) for one in value]
    return value
