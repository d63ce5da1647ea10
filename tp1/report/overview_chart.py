"""Published and measured accuracies as a chart, one row per experiment."""

from collections.abc import Mapping, Sequence
from typing import Any

from tp1.base.names import printable
from tp1.report.charts import Chart, add_hover, chart, plain_plot, source
from tp1.report.figures import LINES

ROW = 30  # pixels


def overview_chart(rows: Sequence[tuple[str, float | None, float, float | None]], texts: Mapping[str, Any]) -> Chart:
    """Return the chart of the rows that :func:`~tp1.report.figures.published_and_measured` draws."""
    from bokeh.models import FixedTicker, PlainText

    places = list(range(len(rows)))
    plot = plain_plot(texts["accuracy"], "", ROW * len(rows) + 110, y_range=(len(rows) - 0.4, -0.6))
    plot.yaxis.ticker = FixedTicker(ticks=places)
    plot.yaxis.major_label_overrides = {
        place: PlainText(text=printable(label)) for place, (label, *_) in enumerate(rows)
    }
    measured: dict[str, Sequence[Any]] = {
        "y": places,
        "label": [printable(label) for label, *_ in rows],
        "measured": [value for *_, value, _ in rows],
        "low": [value - (sd or 0.0) for *_, value, sd in rows],
        "high": [value + (sd or 0.0) for *_, value, sd in rows],
        "text": [f"{value:.4f}" + (f" ± {sd:.4f}" if sd is not None else "") for *_, value, sd in rows],
    }
    known = [
        (place, label, published, value)
        for place, (label, published, value, _) in enumerate(rows)
        if published is not None
    ]
    published: dict[str, Sequence[Any]] = {
        "y": [place for place, *_ in known],
        "label": [printable(label) for _, label, *_ in known],
        "published": [value for *_, value, _ in known],
        "measured": [value for *_, value in known],
        "difference": [value - before for *_, before, value in known],
    }
    plot.segment("published", "y", "measured", "y", source=source(published), line_color=LINES[8], line_alpha=0.5)
    data = source(measured)
    plot.segment("low", "y", "high", "y", source=data, line_color=LINES[0], line_width=2)
    style: dict[str, Any] = {"line_color": LINES[1], "line_width": 2, "fill_color": LINES[1], "fill_alpha": 0.0}
    rings = plot.scatter("published", "y", source=source(published), size=13, **style)
    dots = plot.scatter("measured", "y", source=data, size=9, color=LINES[0])
    title = "<b>@label</b><br>"
    add_hover(
        plot,
        [rings],
        f"{title}{texts['published']} @published{{0.0000}}<br>{texts['difference']} @difference{{+0.0000}}",
        attachment="above",
    )
    add_hover(plot, [dots], f"{title}{texts['measured']} @text", attachment="below")
    return chart(plot, min_width=560)
