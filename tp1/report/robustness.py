"""Accuracy on corrupted images, by kind and strength: of one model, or of several side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import fmean

import pandas as pd
from matplotlib.figure import Figure

from tp1.data.corruptions import CORRUPTIONS
from tp1.report.figures import LINES, cleaned, shown
from tp1.report.page import Inline, Table
from tp1.report.tables import number, signed

PANELS = 4  # of a figure, in a row


@dataclass(frozen=True)
class Robustness:
    """A model's accuracy on the same images, as they are and corrupted.

    Attributes:
        clean: On the images as they are.
        by_kind: On corrupted ones, by kind (:data:`~tp1.data.corruptions.CORRUPTIONS`): one for each strength.
    """

    clean: float
    by_kind: Mapping[str, tuple[float, ...]]

    def mean(self, kind: str) -> float:
        """The mean over the strengths of a kind."""
        return fmean(self.by_kind[kind])

    @property
    def mean_accuracy(self) -> float | None:
        """The mean corruption accuracy: over all kinds and strengths; None unless every kind was measured."""
        return fmean(map(self.mean, CORRUPTIONS)) if set(self.by_kind) == set(CORRUPTIONS) else None

    def metrics(self) -> dict[str, float]:
        """Return what is tracked: the mean of each kind, and the mean corruption accuracy if all were measured."""
        found = {f"eval/corruption/{kind}": self.mean(kind) for kind in self.by_kind}
        return found if self.mean_accuracy is None else found | {"eval/corruption_accuracy": self.mean_accuracy}

    def sentence(self) -> str:
        """The main figure, and the hardest kind."""
        hardest = min(self.by_kind, key=self.mean)
        mean = self.mean_accuracy
        said = (
            "" if mean is None else f"Mean corruption accuracy {mean:.4f}, {self.clean:.4f} on the images as they are. "
        )
        return f"{said}Hardest: {hardest}, {self.mean(hardest):.4f} over its strengths."

    def table(self) -> pd.DataFrame:
        """Return one row for each kind and strength, with amount and unit; strength 0 is the images as they are."""
        rows: list[tuple[str, int, float | None, str, float]] = [("none", 0, None, "", self.clean)]
        for kind, accuracies in self.by_kind.items():
            corruption = CORRUPTIONS[kind]
            for place, (amount, accuracy) in enumerate(zip(corruption.amounts, accuracies, strict=True)):
                rows.append((kind, place + 1, amount, corruption.unit, accuracy))
        return pd.DataFrame(rows, columns=["kind", "strength", "amount", "unit", "accuracy"])


def robustness_table(models: Mapping[str, Robustness]) -> Table:
    """Return one row per kind: accuracy by strength and their mean; of two models, also the difference of the means.

    Args:
        models: By the model's title: one, or two that were measured on the same images.
    """
    first, *others = models.values()
    strengths = [str(place + 1) for place in range(len(next(iter(first.by_kind.values()))))]
    columns = ["corruption", *((*strengths, "mean") * len(models)), *(["difference"] * bool(others))]
    rows: list[list[Inline]] = []
    for kind in first.by_kind:
        row: list[Inline] = [kind]
        for one in models.values():
            row += [*(number(accuracy, 3) for accuracy in one.by_kind[kind]), number(one.mean(kind), 3)]
        rows.append([*row, *(signed(first.mean(kind) - other.mean(kind), 3) for other in others)])
    for name, values in (
        ("all", [one.mean_accuracy for one in models.values()]),
        ("none", [one.clean for one in models.values()]),
    ):
        if values[0] is None:
            continue
        row = [name]
        for value in values:
            row += [*([""] * len(strengths)), number(value, 3)]
        if others and values[1] is not None:
            row.append(signed(values[0] - values[1], 3))
        rows.append(row)
    groups = [("", 1), *((title, len(strengths) + 1) for title in models)] if others else []
    groups += [("", 1)] * bool(others)
    kinds = "; ".join(f"{kind}: {CORRUPTIONS[kind].unit}, {_amounts(kind)}" for kind in first.by_kind)
    caption = (
        f"Accuracy by strength. {kinds}. After Hendrycks and Dietterich 2019; shift and rotation are this project's."
    )
    return Table(columns, rows, caption, groups)


def robustness_figure(models: Mapping[str, Robustness]) -> Figure:
    """Accuracy by strength, one panel for each kind and one line for each model; strength 0 is the images as they are.

    Args:
        models: As for :func:`robustness_table`.
    """
    kinds = list(next(iter(models.values())).by_kind)
    columns = min(PANELS, len(kinds))
    rows = ceil(len(kinds) / columns)
    figure = Figure(figsize=(2.9 * columns + 0.6, 2.4 * rows + 0.7), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, kind in zip(panels, kinds, strict=False):
        for colour, (name, one) in zip(LINES, models.items(), strict=False):
            values = [one.clean, *one.by_kind[kind]]
            axes.plot(range(len(values)), values, color=colour, marker="o", markersize=3, label=shown(name))
        axes.set(title=kind, ylim=(0, 1))
        axes.xaxis.get_major_locator().set_params(integer=True)
        cleaned(axes)
    for axes in panels[len(kinds) :]:
        axes.set_visible(False)
    figure.supxlabel("strength", fontsize="medium")
    figure.supylabel("share correct", fontsize="medium")
    if len(models) > 1:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    return figure


def _amounts(kind: str) -> str:
    return ", ".join(f"{amount:g}" for amount in CORRUPTIONS[kind].amounts)


def side_by_side(titles: Sequence[str], measured: Sequence[Robustness]) -> dict[str, Robustness]:
    """Return the models by title; two of the same title are told apart."""
    if len(set(titles)) < len(titles):
        titles = [f"{title} ({place + 1})" for place, title in enumerate(titles)]
    return dict(zip(titles, measured, strict=True))
