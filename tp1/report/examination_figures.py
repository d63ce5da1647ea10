"""Figures of an examination."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tp1.report.figures import PUBLISHED, TRAIN, VALIDATION, cleaned

WORDS = {
    "sure": "as sure as right",
    "in_bin": "accuracy in a bin",
    "gap": "gap",
    "accuracy": "share correct",
    "images": "images",
    "confidence": "confidence: probability of the predicted class",
}


def reliability_diagram(bins: pd.DataFrame, words: Mapping[str, str] = WORDS) -> Figure:
    """Accuracy by confidence, beside the number of images in each bin.

    Args:
        bins: As :func:`~tp1.report.calibration.reliability` returns them.
        words: On the axes and in the legend.
    """
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    filled = bins[bins["images"] > 0]
    width = 0.92 * (bins["high"] - bins["low"]).to_numpy()
    middle = ((bins["low"] + bins["high"]) / 2).to_numpy()
    left.plot([0, 1], [0, 1], color=TRAIN, linestyle="--", linewidth=1, label=words["sure"])
    left.bar(middle, np.nan_to_num(bins["accuracy"].to_numpy()), width, color=VALIDATION, alpha=0.35)
    left.plot(filled["confidence"], filled["accuracy"], "o", color=VALIDATION, markersize=5, label=words["in_bin"])
    left.vlines(
        filled["confidence"],
        filled["accuracy"],
        filled["confidence"],
        color=PUBLISHED,
        linewidth=1.6,
        label=words["gap"],
    )
    left.set(ylabel=words["accuracy"], ylim=(0, 1.02))
    right.bar(middle, bins["images"], width, color=VALIDATION)
    right.set(ylabel=words["images"])
    right.yaxis.get_major_locator().set_params(integer=True)
    for axes in (left, right):
        axes.set(xlabel=words["confidence"], xlim=(0, 1))
        cleaned(axes)
    left.legend(frameon=False, loc="best")
    return figure
