"""Parameters against validation accuracy, where there are many rows: parallel coordinates, static and as a chart."""

from collections.abc import Mapping, Sequence
from math import log
from typing import Any

from tp1.base.names import printable
from tp1.report.charts import Chart, add_hover, chart, plain_plot, source, view
from tp1.report.figures import LONGEST_CLASS
from tp1.report.page import Picture
from tp1.report.sweep_figures import Axis, Tried, accuracy_axis, parallel_coordinates

ENOUGH = 5  # rows; of fewer, the table says it all
MOST_AXES = 8  # parameters; of more, those with the most values
WIDE = 20.0  # a parameter whose values are positive and differ by this factor has a logarithmic axis
MIN_WIDTH = 110  # pixels for an axis and the texts beside it
NONE = 0.12  # below this place of an axis are the rows without the parameter

Value = str | float | None


def axis_of(name: str, values: Sequence[Value]) -> Axis:
    """Return the axis of a parameter: numbers by their size, texts in order, None at the bottom."""
    numbers = [value for value in values if isinstance(value, (int, float))]
    given = [value for value in values if value is not None]
    low_end = NONE if len(given) < len(values) else 0.0
    ticks = [(0.0, "–")] if low_end else []

    def lifted(share: float) -> float:
        return low_end + (1 - low_end) * share

    if len(numbers) == len(given) > 0:
        low, high = min(numbers), max(numbers)
        is_log = low > 0 and high / low >= WIDE
        scale = log if is_log else float
        width = scale(high) - scale(low)

        def place(value: Value) -> float:
            return lifted((scale(float(value or 0)) - scale(low)) / width if width else 0.5)

        distinct = sorted(set(numbers))
        shown = distinct if len(distinct) <= 5 else [low, high]
        ticks += [(place(value), f"{value:g}") for value in shown]
        name = f"{name} (log)" if is_log else name
    else:
        texts = sorted({str(value) for value in given})

        def place(value: Value) -> float:
            return lifted(texts.index(str(value)) / (len(texts) - 1) if len(texts) > 1 else 0.5)

        ticks += [(place(text), text) for text in texts]
    return Axis(name, [0.0 if value is None else place(value) for value in values], ticks)


def parameter_picture(
    name: str,
    parameters: Mapping[str, Sequence[Value]],
    accuracies: Sequence[float],
    labels: Sequence[str],
    keys: Sequence[str],
    texts: Mapping[str, Any],
) -> Picture | None:
    """Return parallel coordinates of the rows; None if there are fewer than :data:`ENOUGH`, or no parameter varies.

    Args:
        name: Of the picture.
        parameters: Those that vary, with one value per row.
        accuracies: Validation accuracy of each row.
        keys: Of the rows of the table that they belong to; empty texts without one.
    """
    if len(accuracies) < ENOUGH or not parameters:
        return None
    chosen = sorted(parameters, key=lambda one: -len(set(parameters[one])))[:MOST_AXES]
    axes = [axis_of(one, parameters[one]) for one in parameters if one in chosen]
    tried = [Tried(place, accuracy, finished=True) for place, accuracy in enumerate(accuracies)]
    caption = texts["parallel"]
    if len(chosen) < len(parameters):
        caption += texts["parallel_most"].format(shown=len(chosen), of=len(parameters))
    values = [
        ", ".join(f"{one}={_text(parameters[one][row])}" for one in parameters if parameters[one][row] is not None)
        for row in range(len(accuracies))
    ]
    axes.append(accuracy_axis(tried, texts["validation"]))
    drawn = _chart(axes, accuracies, labels, values, keys, texts)
    return Picture(name, parallel_coordinates(axes, tried, texts["validation"]), caption, caption, [drawn])


def _chart(
    axes: Sequence[Axis],
    accuracies: Sequence[float],
    labels: Sequence[str],
    values: Sequence[str],
    keys: Sequence[str],
    texts: Mapping[str, Any],
) -> Chart:
    from bokeh.models import FixedTicker, LinearAxis, LinearColorMapper, MultiLine
    from bokeh.palettes import Viridis256

    columns = list(range(len(axes)))
    plot = plain_plot("", "", height=380, x_range=(-0.2, len(axes) - 0.4), y_range=(-0.06, 1.06))
    plot.yaxis.visible = False
    plot.grid.visible = False
    plot.xaxis.ticker = FixedTicker(ticks=columns)
    plot.xaxis.axis_line_width, plot.xaxis.major_tick_line_width = 0, 0
    plot.xaxis.major_label_overrides = {place: _plain(axis.name) for place, axis in enumerate(axes)}
    for column, axis in zip(columns, axes, strict=True):
        ticks = dict(axis.ticks)
        line = LinearAxis(fixed_location=column)
        line.ticker = FixedTicker(ticks=list(ticks))  # type: ignore[assignment]  # Bokeh's hints are too narrow
        line.major_label_overrides = {place: _plain(text) for place, text in ticks.items()}
        plot.add_layout(line, "right")
    order = sorted(range(len(accuracies)), key=lambda row: accuracies[row])  # the best on top
    data = source(
        {
            "key": [keys[row] for row in order],
            "label": [printable(labels[row]) for row in order],
            "values": [printable(values[row]) for row in order],
            "accuracy": [round(accuracies[row], 5) for row in order],
            "x": [columns] * len(order),
            "y": [[round(axis.places[row], 5) for axis in axes] for row in order],
        }
    )
    low, high = min(accuracies), max(accuracies)
    # The ends of the palette are too near to a dark and to a light page.
    colours = LinearColorMapper(palette=list(Viridis256[40:225]), low=low, high=high if high > low else low + 1)
    by_accuracy = {"field": "accuracy", "transform": colours}
    line_of: dict[str, Any] = {"xs": "x", "ys": "y", "line_color": by_accuracy}
    plot.multi_line(**line_of, line_width=1.8, line_alpha=0.9, source=data, view=view(len(order)), name="row")
    thick = plot.multi_line(**line_of, line_width=10, line_alpha=0, source=data, view=view(len(order)), name="row")
    thick.hover_glyph = MultiLine(**line_of, line_width=6, line_alpha=0.7)
    add_hover(plot, [thick], f"@label<br>{texts['validation']}: <b>@accuracy{{0.0000}}</b><br>@values")
    return chart(plot, min_width=MIN_WIDTH * len(axes))


def _plain(text: str) -> Any:
    from bokeh.models import PlainText

    line = printable(text)
    return PlainText(text=line if len(line) <= LONGEST_CLASS else f"{line[: LONGEST_CLASS - 1]}…")


def _text(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
