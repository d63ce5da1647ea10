"""Curves by epoch as charts: mean, and a band of one standard deviation over the seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tp1.base.names import printable
from tp1.report.charts import Chart, Part, add_hover, chart, plain_plot, source, view
from tp1.report.figures import LONGEST_NAME, OTHER, STYLES, mean_and_sd

MOST_POINTS = 50_000  # of the curves of a chart; of more, each has every second epoch, or every third, and so on
FEW = 6  # curves; of more, those of training are shown when the reader asks for them
QUANTITIES = (("accuracy", "share"), ("loss", "nats"))


@dataclass(frozen=True)
class Curve:
    """The runs behind one curve.

    Attributes:
        key: Of the row of a table that it belongs to; empty without one.
        histories: ``train/loss``, ``val/loss``, ``train/accuracy`` and ``val/accuracy`` by epoch, for each run.
    """

    key: str
    label: str
    histories: Sequence[Mapping[str, Sequence[float]]]


def curve_charts(curves: Sequence[Curve], texts: Mapping[str, Any], best_epoch: int | None = None) -> list[Chart]:
    """Return a chart of accuracy and one of loss by epoch.

    Args:
        curves: They take the colours of ``STYLES`` in order, and further ones are grey. A single one has another colour
            for training.
        texts: The fixed texts of the page's language.
        best_epoch: Marked by a line; 1-based.
    """
    points = sum(len(history["val/loss"]) for one in curves for history in one.histories[:1]) * 4
    step = max(1, -(-points // MOST_POINTS))
    return [_chart(curves, *quantity, step, texts, best_epoch) for quantity in QUANTITIES]


def _chart(
    curves: Sequence[Curve], quantity: str, unit: str, step: int, texts: Mapping[str, Any], best_epoch: int | None
) -> Chart:
    from bokeh.models import MultiLine
    from bokeh.models.annotations import Span

    plot = plain_plot(texts["epoch"], f"{texts[quantity]}, {texts[unit]}")
    names: Mapping[str, str] = texts["parts"]
    is_banded = any(len(one.histories) > 1 for one in curves)
    is_single = len(curves) == 1
    found = []
    if best_epoch is not None:
        plot.add_layout(Span(location=best_epoch, dimension="height", line_color=OTHER, line_dash="dashed"))
    for part in ("train", "val"):
        first = 1 if is_single and part == "train" else 0
        lines = _lines(curves, f"{part}/{quantity}", step, first)
        if is_banded:
            bands = source({key: lines[key] for key in ("key", "colour", "around_x", "around_y")})
            plot.patches(
                *("around_x", "around_y"),
                source=bands,
                view=view(len(curves)),
                name=f"{part} band",
                fill_color="colour",
                fill_alpha=0.16,
                line_color=None,
            )
        shown = {key: values for key, values in lines.items() if not key.startswith("around")}
        data = source(shown | {"part": [names[part]] * len(curves)})
        line: dict[str, Any] = {"xs": "x", "ys": "y", "line_color": "colour"}
        style: dict[str, Any] = {"line_dash": "dotted", "line_width": 1.3} if part == "train" else {"line_dash": "dash"}
        plot.multi_line(**line, **({"line_width": 2} | style), source=data, view=view(len(curves)), name=part)
        # Two pixels are too thin to hit: an invisible thick line is what a pointer finds, and it is shown meanwhile.
        thick = plot.multi_line(**line, line_width=14, line_alpha=0, source=data, view=view(len(curves)), name=part)
        thick.hover_glyph = MultiLine(**line, line_width=6, line_alpha=0.45)
        found.append(thick)
    values = f"{texts['epoch']} $snap_x{{0}}: <b>$snap_y{{0.0000}}</b>"
    add_hover(plot, found[::-1], f"@label<br>@part, {values}", line_policy="nearest")
    colours = [STYLES[0][0], STYLES[1][0]] if is_single else ["", ""]
    parts = [Part("val", names["val"], True, colours[0]), Part("train", names["train"], len(curves) <= FEW, colours[1])]
    return chart(plot, [*parts, *([Part("band", names["band"], len(curves) <= len(STYLES))] if is_banded else [])])


def _lines(curves: Sequence[Curve], metric: str, step: int, first: int) -> dict[str, list[Any]]:
    """One row per curve: where it runs, and the outline of the band around it."""
    rows = []
    for place, one in reversed([*enumerate(curves, start=first)]):  # the first on top
        colour, dash = STYLES[place] if place < len(STYLES) else (OTHER, "solid")
        mean, sd = mean_and_sd([history[metric] for history in one.histories])
        epochs = np.arange(1, len(mean) + 1)
        kept = np.unique([*range(0, len(mean), step), len(mean) - 1])
        x, y = epochs[kept].tolist(), mean[kept].round(4).tolist()
        around = [] if sd is None else [*(mean + sd)[kept].round(4), *(mean - sd)[kept][::-1].round(4)]
        label = printable(one.label)[:LONGEST_NAME]
        seeds = len(one.histories)
        rows.append(
            {
                "key": one.key,
                "label": label if seeds == 1 else f"{label} (n = {seeds})",
                "colour": colour,
                "dash": "dotdash" if dash == "dashdot" else dash,
                "x": x,
                "y": y,
                "around_x": [*x, *x[::-1]] if around else [],
                "around_y": [float(value) for value in around],
            }
        )
    return {key: [row[key] for row in rows] for key in rows[0]}
