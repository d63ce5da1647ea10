"""Figures of a sweep: its history, the importance of each parameter, and parallel coordinates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tp1.report.figures import LONGEST_CLASS, TRAIN, VALIDATION, cleaned, shown

FADED = "#c4c8ce"


@dataclass(frozen=True)
class Tried:
    """One trial: its number from 0, its best validation accuracy, and whether it was finished or stopped early."""

    number: int
    accuracy: float
    finished: bool


@dataclass(frozen=True)
class Axis:
    """One searched parameter.

    Attributes:
        places: Where each trial's value is, 0 to 1.
        ticks: (place, text).
    """

    name: str
    places: Sequence[float]
    ticks: Sequence[tuple[float, str]]


def history(tried: Sequence[Tried]) -> Figure:
    """Validation accuracy by trial, and the best so far of the finished ones."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for finished, fill, name in ((True, VALIDATION, "finished"), (False, "none", "stopped early")):
        some = [one for one in tried if one.finished == finished]
        axes.scatter(
            [one.number for one in some],
            [one.accuracy for one in some],
            s=26,
            facecolors=fill,
            edgecolors=VALIDATION if finished else TRAIN,
            label=name,
        )
    done = [one for one in tried if one.finished]
    best = list(accumulate((one.accuracy for one in done), max))
    axes.step([one.number for one in done], best, where="post", color=VALIDATION, linewidth=1, label="best so far")
    axes.set(xlabel="trial", ylabel="best validation accuracy, share correct")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    cleaned(axes)
    axes.legend(frameon=False)
    return figure


def importances(shares: Mapping[str, float]) -> Figure:
    """The importance of each parameter, 0 to 1, the largest on top."""
    figure = Figure(figsize=(7, 0.4 * len(shares) + 1), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(range(len(shares)), list(shares.values()), color=VALIDATION)
    axes.bar_label(bars, fmt="{:.2f}", padding=3, fontsize=8)
    axes.set_yticks(range(len(shares)), [shown(name) for name in shares])
    axes.set(xlabel="importance (PED-ANOVA), share")
    axes.margins(x=0.12)
    axes.invert_yaxis()
    cleaned(axes)
    axes.grid(visible=False, axis="y")
    return figure


def accuracy_axis(tried: Sequence[Tried], name: str = "validation accuracy") -> Axis:
    """The axis of the accuracies, from the lowest to the highest."""
    accuracies = np.array([one.accuracy for one in tried])
    low, high = accuracies.min(), accuracies.max()
    if high <= low:
        return Axis(name, [0.5] * len(tried), [(0.5, f"{high:.3f}")])
    return Axis(name, ((accuracies - low) / (high - low)).tolist(), [(0.0, f"{low:.3f}"), (1.0, f"{high:.3f}")])


def parallel_coordinates(
    all_axes: Sequence[Axis], tried: Sequence[Tried], label: str = "finished trials: validation accuracy"
) -> Figure:
    """Each trial as a line across its parameters to its accuracy, the last axis; finished ones in colour, on top."""
    accuracies = np.array([one.accuracy for one in tried])
    figure = Figure(figsize=(2.2 * len(all_axes) + 1, 4.6), layout="constrained")
    axes = figure.subplots()
    columns = list(range(len(all_axes)))
    heights = np.array([axis.places for axis in all_axes]).T
    lines = [np.column_stack([columns, row]) for row in heights]
    finished = np.array([one.finished for one in tried])
    axes.add_collection(
        LineCollection([line for line, done in zip(lines, finished, strict=True) if not done], colors=FADED)
    )
    order = [place for place in np.argsort(accuracies, kind="stable") if finished[place]]
    coloured = LineCollection([lines[place] for place in order], cmap="viridis", linewidths=1.6)
    coloured.set_array(accuracies[order])
    axes.add_collection(coloured)
    for column, axis in zip(columns, all_axes, strict=True):
        axes.axvline(column, color="#3b4048", linewidth=0.8, zorder=0)
        for place, text in axis.ticks:
            axes.annotate(
                shown(text, LONGEST_CLASS),
                (column, place),
                (5, 0),
                textcoords="offset points",
                fontsize=8,
                va="center",
                bbox={"boxstyle": "square,pad=0.15", "color": "#ffffff", "alpha": 0.8},
            )
    axes.set_xticks(columns, [shown(axis.name, LONGEST_CLASS) for axis in all_axes])
    axes.set(xlim=(-0.15, len(all_axes) - 0.6), ylim=(-0.06, 1.06))
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if order:
        figure.colorbar(coloured, ax=axes, shrink=0.8, label=label)
    return figure
