"""What a model gets wrong, and how sure it is: the blocks of a section of the report."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pandas as pd

from tp1.report.calibration import BINS, expected_calibration_error, reliability
from tp1.report.charts import Chart, add_hover, chart, plain_plot, source
from tp1.report.details import Detail
from tp1.report.examination_figures import reliability_diagram
from tp1.report.figures import LINES
from tp1.report.mistakes import mistakes_gallery
from tp1.report.page import Block, Heading, Inline, Number, Picture, Table
from tp1.report.tables import number

MOST_PAIRS = 5  # most confused pairs of classes in the table


def confused_pairs(detail: Detail, texts: Mapping[str, Any]) -> list[Block]:
    """Return a table of the most confused pairs of classes; nothing if there was no mistake."""
    counts = detail.confusion.to_numpy()
    names = [str(name) for name in detail.confusion.columns]
    off = counts - np.diag(np.diag(counts))
    places = np.argsort(-off, axis=None, kind="stable")[:MOST_PAIRS]
    rows: list[list[Inline]] = []
    for place in places.tolist():
        true, predicted = divmod(place, len(names))
        if not off[true, predicted]:
            break
        share = off[true, predicted] / counts[true].sum()
        back = int(off[predicted, true])
        rows.append(
            [
                f"{names[true]} → {names[predicted]}",
                Number(f"{off[true, predicted]:,}", float(off[true, predicted])),
                Number(f"{share:.1%}", float(share)),
                Number(f"{back:,}", back),
            ]
        )
    if not rows:
        return []
    return [Table([texts["pair"], texts["images"], texts["of_true_class"], texts["back"]], rows, texts["pairs"])]


def surest_mistakes(detail: Detail, label: str, anchor: str, texts: Mapping[str, Any]) -> list[Block]:
    """Return a gallery of the mistakes that the model is surest of; nothing if the run has not kept any."""
    if not detail.mistakes:
        return []
    heading = Heading(texts["mistakes_title"], f"{anchor}-mistakes")
    return [heading, mistakes_gallery(f"{label}-mistakes", detail.mistakes, texts)]


def calibration_blocks(detail: Detail, label: str, anchor: str, texts: Mapping[str, Any]) -> list[Block]:
    """Return the reliability diagram of the first run, and the calibration error over all that kept predictions."""
    if not detail.predictions:
        return []
    errors = [expected_calibration_error(*_sorted_out(table)) for table in detail.predictions]
    error = number(fmean(errors), 4, stdev(errors) if len(errors) > 1 else None)
    assert isinstance(error, Number)
    caption = texts["reliability"].format(error=error.text, n=len(errors), bins=BINS)
    bins = reliability(*_sorted_out(detail.predictions[0]))
    figure = reliability_diagram(bins, texts["diagram"])
    picture = Picture(f"{label}-reliability", figure, caption, caption, _charts(bins, texts))
    return [Heading(texts["calibration"], f"{anchor}-calibration"), picture]


def _sorted_out(predictions: pd.DataFrame) -> tuple[Any, Any]:
    """Probabilities (N, classes) and true class numbers (N,)."""
    return predictions.iloc[:, 3:].to_numpy(), predictions["true"].to_numpy()


def _charts(bins: pd.DataFrame, texts: Mapping[str, Any]) -> Sequence[Chart]:
    words = texts["diagram"]
    filled = bins[bins["images"] > 0]
    data: dict[str, Sequence[Any]] = {str(name): filled[name].tolist() for name in filled}
    data["middle"] = ((filled["low"] + filled["high"]) / 2).tolist()
    data["gap"] = (filled["accuracy"] - filled["confidence"]).tolist()
    charts = []
    for column, top in (("accuracy", 1.02), ("images", 1.05 * max(data["images"]))):
        plot = plain_plot(words["confidence"], words[column], 300, x_range=(0, 1), y_range=(0, top))
        if column == "accuracy":
            plot.line([0, 1], [0, 1], line_color=LINES[8], line_dash="dashed")
        bars = plot.vbar(
            *("middle", 0.92 / BINS, column),
            source=source(data),
            fill_color=LINES[0],
            fill_alpha=0.55,
            line_color=None,
        )
        bars.hover_glyph = bars.glyph.clone(fill_alpha=0.9)
        add_hover(
            plot,
            [bars],
            f"{words['confidence_short']} @low{{0.00}} – @high{{0.00}}<br>{words['mean']} @confidence{{0.000}}<br>"
            f"{words['accuracy']} <b>@accuracy{{0.000}}</b> (@gap{{+0.000}})<br>{words['images']} @images{{0,0}}",
        )
        charts.append(chart(plot))
    return charts
