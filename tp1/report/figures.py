"""Figures: arrays in, a matplotlib Figure out. Nothing here touches pyplot's global state."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tp1.base.names import printable

TRAIN, VALIDATION, PUBLISHED = "#8a8f98", "#0f62ac", "#c2560a"
LONGEST_NAME, LONGEST_CLASS = 120, 40  # characters of a label or title, and of a class's name
MOST_NAMED = 40  # classes whose names and cells a figure shows one by one; of more, it shows the most telling
CONFUSIONS = 25  # pairs of classes beside the map of a large confusion matrix
HALF = 56  # characters of a label that a legend of two columns has room for
SHORT = 24  # characters of a class's name in such a pair
MAP_CELLS = 700  # per side of that map: what its pixels can show
# Colours that stay apart from each other, and from a light and a dark page (a contrast of 3 at least); then dashes.
LINES = ("#2478cc", "#c86a00", "#2e8540", "#a03cf0", "#e0348c", "#00949f", "#c8202c", "#85780a", "#7b828e", "#b38380")
DASHES = ("solid", "dashed", "dashdot")
STYLES = tuple((colour, dash) for dash in DASHES for colour in LINES)  # further lines are OTHER, and have no name
OTHER = "#9aa0a880"


WORDS = {
    "epoch": "epoch",
    "loss": "Loss",
    "accuracy": "Accuracy",
    "cross entropy": "cross entropy, nats",
    "share": "share correct",
    "nats": "nats",
    "training": "training",
    "validation": "validation",
    "best": "best epoch ({epoch})",
    "others": "{count} others",
    "true": "true",
    "predicted": "predicted",
    "of true": "share of the true class",
    "images": "images",
    "train": "train",
    "test": "test",
}  # what figures say, in English


def curves(
    histories: Sequence[Mapping[str, Sequence[float]]],
    title: str,
    best_epoch: int | None = None,
    words: Mapping[str, str] = WORDS,
) -> Figure:
    """Loss and accuracy by epoch, training beside validation (the report's figures 3, 7 and 8).

    Args:
        histories: One for each run: ``train/loss``, ``val/loss``, ``train/accuracy`` and ``val/accuracy``, one value
            per epoch. Of several runs the mean is drawn, and a band of one standard deviation on each side.
        title: Empty for none.
        best_epoch: Marked by a line; 1-based.
        words: :data:`WORDS` of a language.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, quantity, unit in zip(
        figure.subplots(1, 2), ("loss", "accuracy"), ("cross entropy", "share"), strict=True
    ):
        for part, colour, name in (("train", TRAIN, words["training"]), ("val", VALIDATION, words["validation"])):
            lines = [history[f"{part}/{quantity}"] for history in histories]
            mean, sd = mean_and_sd(lines)
            if sd is not None:
                axes.fill_between(_epochs(mean), mean - sd, mean + sd, color=colour, alpha=0.2, linewidth=0)
            axes.plot(range(1, len(mean) + 1), mean, color=colour, marker="o", markersize=3, label=name)
        if best_epoch is not None:
            label = words["best"].format(epoch=best_epoch)
            axes.axvline(best_epoch, color="#c4c8ce", linestyle="--", linewidth=1, zorder=0, label=label)
        axes.set(xlabel=words["epoch"], ylabel=words[unit], title=words[quantity])
        axes.xaxis.get_major_locator().set_params(integer=True)
        cleaned(axes)
        axes.legend(frameon=False)
    figure.suptitle(shown(title))
    return figure


def compared_curves(
    groups: Sequence[tuple[str, Sequence[Mapping[str, Sequence[float]]]]], title: str, words: Mapping[str, str] = WORDS
) -> Figure:
    """Accuracy and loss by epoch of several groups of runs: validation as a line, training as a thin dotted one.

    Lines are means over the group's runs; a band around them is one standard deviation wide on each side. Above
    ``len(STYLES)`` groups, the others are grey lines.

    Args:
        groups: Each group's label, and the histories of its runs, as of :func:`curves`.
        title: Empty for none.
        words: :data:`WORDS` of a language.
    """
    named, others = groups[: len(STYLES)], groups[len(STYLES) :]
    figure = Figure(figsize=(10, 5), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, quantity, unit in zip(panels, ("accuracy", "loss"), ("share", "nats"), strict=True):
        for place, (_, histories) in enumerate(others):
            mean, _sd = mean_and_sd([history[f"val/{quantity}"] for history in histories])
            axes.plot(
                *(_epochs(mean), mean),
                color=OTHER,
                linewidth=0.6,
                zorder=1.5,
                rasterized=True,
                label=words["others"].format(count=len(others)) if place == 0 else None,
            )
        for (colour, dash), (label, histories) in zip(STYLES, named, strict=False):
            mean, sd = mean_and_sd([history[f"val/{quantity}"] for history in histories])
            if sd is not None:
                axes.fill_between(_epochs(mean), mean - sd, mean + sd, color=colour, alpha=0.15, linewidth=0)
            name = f"{shown(label)} (n={len(histories)})"
            axes.plot(_epochs(mean), mean, color=colour, linestyle=dash, linewidth=1.6, label=name)
            mean, _sd = mean_and_sd([history[f"train/{quantity}"] for history in histories])
            axes.plot(_epochs(mean), mean, color=colour, linestyle="dotted", linewidth=0.9)
        axes.set(xlabel=words["epoch"], ylabel=words[unit], title=words[quantity])
        axes.xaxis.get_major_locator().set_params(integer=True)
        cleaned(axes)
    handles, names = panels[0].get_legend_handles_labels()
    columns = 2 if max(map(len, names)) <= HALF else 1
    figure.set_figheight(4.2 + 0.2 * -(-len(names) // columns))
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False)
    figure.suptitle(shown(title))
    return figure


def published_and_measured(rows: Sequence[tuple[str, float | None, float, float | None]], xlabel: str) -> Figure:
    """Published beside measured values, one row per experiment.

    Args:
        rows: (label, published, measured, standard deviation); the first row is on top.
    """
    figure = Figure(figsize=(9, 0.36 * len(rows) + 1), layout="constrained")
    axes = figure.subplots()
    for place, (_, published, measured, sd) in enumerate(rows):
        if published is not None:
            axes.plot([published, measured], [place, place], color="#c4c8ce", linewidth=2, zorder=1)
            axes.plot(published, place, "o", markersize=9, markerfacecolor="none", color=PUBLISHED, markeredgewidth=1.8)
        axes.errorbar(measured, place, xerr=sd or None, fmt="o", markersize=6, color=VALIDATION, capsize=3)
        axes.annotate(f"{measured:.3f}", (measured, place), (0, 7), textcoords="offset points", ha="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [shown(label) for label, *_ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.7)
    axes.set(xlabel=xlabel)
    cleaned(axes)
    return figure


def mean_and_sd(lines: Sequence[Sequence[float]]) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Mean and standard deviation (n - 1; None for one line) of lines, over the epochs that all of them have."""
    length = min(len(line) for line in lines)
    values = np.array([line[:length] for line in lines], dtype=np.float64)
    return values.mean(axis=0), values.std(axis=0, ddof=1) if len(lines) > 1 else None


def _epochs(values: NDArray[np.float64]) -> range:
    return range(1, len(values) + 1)


def confusion_matrix(
    matrix: NDArray[np.int64], classes: Sequence[str], title: str, words: Mapping[str, str] = WORDS
) -> Figure:
    """Counts by true class (rows) and predicted class (columns), shaded by the row's share.

    Above :data:`MOST_NAMED` classes, the whole is a map of one cell per class without names or numbers, beside the
    classes that are most often taken for another: the figure has the same size for any number of classes.

    Args:
        matrix: (classes, classes) counts.
        words: :data:`WORDS` of a language, for the matrix of not too many classes.
    """
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    if len(classes) > MOST_NAMED:
        return _confusion_map(matrix, share, classes, title)
    side = max(5.0, 0.62 * len(classes) + 2.2)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(classes))
    names = [shown(name, LONGEST_CLASS) for name in classes]
    axes.set_xticks(ticks, names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, names)
    if len(classes) <= 20:  # beyond that the numbers would overlap
        for row in ticks:
            for column in ticks:
                colour = "white" if share[row, column] > 0.5 else "#3b4048" if matrix[row, column] else "#c4c8ce"
                axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=colour, fontsize=8)
    axes.set(xlabel=words["predicted"], ylabel=words["true"], title=shown(title))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    figure.colorbar(image, ax=axes, shrink=0.8, label=words["of true"])
    return figure


def _confusion_map(matrix: NDArray[np.int64], share: NDArray[np.float64], classes: Sequence[str], title: str) -> Figure:
    """The matrix as a map, beside a bar for each of the most frequent confusions."""
    figure = Figure(figsize=(14, 7), layout="constrained")
    whole, most = figure.subplots(1, 2, width_ratios=(1.15, 1))
    # By the root, single confusions can be seen; as a picture of bounded size, whatever the number of classes.
    image = whole.imshow(
        _coarse(np.sqrt(share)), cmap="Blues", vmin=0, vmax=1, extent=(0, len(classes), len(classes), 0)
    )
    whole.set(xlabel="predicted (class number)", ylabel="true (class number)", title=f"{len(classes):,} classes")
    bar = figure.colorbar(image, ax=whole, shrink=0.8, label="share of the true class")
    bar.set_ticks([0, 0.1**0.5, 0.5, 0.5**0.5, 1], labels=["0", "0.1", "0.25", "0.5", "1"])
    off = matrix.astype(np.int64, copy=True)
    np.fill_diagonal(off, 0)
    places = np.argsort(-off, axis=None, kind="stable")[:CONFUSIONS]
    pairs = [divmod(int(place), len(classes)) for place in places if off.flat[place]]
    counts = [int(off[pair]) for pair in pairs]
    bars = most.barh(range(len(pairs)), counts, color=VALIDATION)
    most.bar_label(bars, labels=[f"{off[true, other]:,} of {matrix[true].sum():,}" for true, other in pairs], padding=3)
    labels = [f"{shown(classes[true], SHORT)} → {shown(classes[other], SHORT)}" for true, other in pairs]
    most.set_yticks(range(len(pairs)), labels, fontsize=8)
    most.set(xlabel="images", title="Most frequent confusions: true → predicted")
    most.margins(x=0.25)
    most.xaxis.get_major_locator().set_params(integer=True)
    most.invert_yaxis()
    cleaned(most)
    figure.suptitle(shown(title))
    return figure


def _coarse(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Reduce a square matrix to :data:`MAP_CELLS` cells per side at most; each cell shows its largest value."""
    if len(values) <= MAP_CELLS:
        return values
    starts = np.unique(np.arange(MAP_CELLS) * len(values) // MAP_CELLS)
    rows: NDArray[np.float64] = np.maximum.reduceat(np.maximum.reduceat(values, starts, axis=0), starts, axis=1)
    return rows


def sample_images(images: NDArray[np.uint8], classes: Sequence[str], title: str) -> Figure:
    """A row of images for each class (the report's figures 1 and 10).

    Args:
        images: uint8 (classes, columns, H, W, 3).
    """
    rows, columns = images.shape[:2]
    figure = Figure(figsize=(0.9 * columns + 1.8, 0.9 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for row in range(rows):
        for column in range(columns):
            axes = grid[row][column]
            axes.imshow(images[row, column])
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
        grid[row][0].set_ylabel(shown(classes[row], LONGEST_CLASS), rotation=0, ha="right", va="center")
    figure.suptitle(shown(title))
    return figure


def class_distribution(
    counts: Mapping[str, Sequence[int]], classes: Sequence[str], title: str, words: Mapping[str, str] = WORDS
) -> Figure:
    """Images per class in each part of the split (the report's figure 2).

    Above :data:`MOST_NAMED` classes they are drawn as one line, from the largest class to the smallest.

    Args:
        counts: By part, such as ``train``: one count per class.
        words: :data:`WORDS` of a language, for the figure of not too many classes.
    """
    is_named = len(classes) <= MOST_NAMED
    height = max(2.4, 0.3 * len(classes) + 1) if is_named else 3.6
    figure = Figure(figsize=(4.2 * len(counts), height), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(counts), sharey=is_named))
    for axes, (part, values) in zip(panels, counts.items(), strict=True):
        if is_named:
            bars = axes.barh(range(len(classes)), values, color=VALIDATION)
            axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
            axes.set_yticks(range(len(classes)), [shown(name, LONGEST_CLASS) for name in classes])
            axes.set(xlabel=words["images"], title=f"{words.get(part, part)} ({sum(values):,})")
            axes.margins(x=0.18)
            axes.xaxis.get_major_locator().set_params(integer=True)
        else:
            axes.fill_between(range(1, len(values) + 1), sorted(values, reverse=True), color=VALIDATION, step="mid")
            axes.set(xlabel=f"the {len(values):,} classes by size", title=f"{part} ({sum(values):,})", ylim=(0, None))
            axes.set(ylabel="images")
            axes.yaxis.get_major_locator().set_params(integer=True)
        cleaned(axes)
        axes.grid(visible=not is_named, axis="y")
    if is_named:
        panels[-1].invert_yaxis()
    figure.suptitle(shown(title))
    return figure


def shown(text: str, longest: int = LONGEST_NAME) -> str:
    """A name as a figure can show it: on one line, shortened, and with ``$`` escaped so that it starts no formula."""
    line = printable(text)
    return (line if len(line) <= longest else f"{line[: longest - 1]}…").replace("$", r"\$")


def cleaned(axes) -> None:  # type: ignore[no-untyped-def]
    """Draw a grid behind the data, and no frame above and on the right."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e8eb", linewidth=0.8)
    axes.set_axisbelow(True)
