"""Compare runs: one row per configuration, with means over its seeds beside the published figures.

Everything here is computed from the results of one search of the tracking store, without metric histories or files.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

import pandas as pd

from tp1.base.names import printable, whole_number
from tp1.config import hyperparameters
from tp1.experiment import Experiment, Study, experiments_of
from tp1.store.identity import Identity, differing, identity
from tp1.store.runs import TrackedRun

# The rule behind every remark. All figures are means over the seeds, from the last epoch unless stated otherwise.
OVERFITTING_GAP = 0.10  # training accuracy above validation accuracy
SLIGHT_GAP = 0.05
OVERFITTING_RISE = 1.25  # validation loss divided by that of the best epoch
SLIGHT_RISE = 1.10
LATE = 0.9  # best epoch divided by epochs; above it, validation was still improving
LONGEST_VALUE = 100  # characters of a parameter's value in a label
RULE = (
    f"overfitting: in the last epoch, training accuracy is {OVERFITTING_GAP:.2f} or more above validation accuracy, or "
    f"validation loss is {OVERFITTING_RISE:g} times that of the best epoch or more; slight overfitting: "
    f"{SLIGHT_GAP:.2f}, or {SLIGHT_RISE:g} times; else underfitting: training accuracy is below validation accuracy "
    f"and the best epoch is among the last {1 - LATE:.0%}; strong underfitting: it is {SLIGHT_GAP:.2f} or more below; "
    "else balanced. Training figures are taken while weights move, with dropout and augmentation."
)

LAST_EPOCH = "Published validation figures are of the last epoch, and their difference is from ours of the last epoch."


@dataclass(frozen=True)
class Group:
    """The newest run of each seed of one configuration, on the same data and split.

    Attributes:
        label: ``cnnv3`` or ``cnnv3-c2``; differences from the experiment's defaults follow in parentheses.
        runs: Sorted by seed.
        experiment: The runs' experiment; None if this code does not know it.
        is_default: Whether the runs have the experiment's default configuration, including its data set.
        differences: Hyperparameters that differ from the defaults, such as ``epochs=5, dropout=0.3``.
    """

    label: str
    runs: tuple[TrackedRun, ...]
    experiment: Experiment | None
    is_default: bool
    differences: str = ""

    def mean(self, metric: str) -> float:
        """Return the mean of a metric over the seeds."""
        return fmean(run.metrics[metric] for run in self.runs)

    def sd(self, metric: str) -> float | None:
        """Return the standard deviation of a metric over the seeds (n - 1); None for a single seed."""
        return stdev(run.metrics[metric] for run in self.runs) if len(self.runs) > 1 else None

    @property
    def dataset(self) -> str:
        """The data set's name."""
        return self.runs[0].dataset

    @property
    def epoch_seconds(self) -> float | None:
        """Mean seconds of training in the last epoch; None if no run tracks the number of images."""
        seconds = [
            run.train_images / run.metrics["train/images_per_second"]
            for run in self.runs
            if run.train_images and run.metrics["train/images_per_second"] > 0
        ]
        return fmean(seconds) if seconds else None

    @property
    def published(self) -> dict[str, float]:
        """Published figures by metric; empty on any data set but the report's, also on a folder of the same name."""
        given = {run.params.get("dataset", run.dataset) for run in self.runs}
        return self.experiment.published_on(*given) if self.experiment and len(given) == 1 else {}

    @property
    def published_metric(self) -> str | None:
        """The metric to compare with the report: test accuracy, else validation accuracy, else None.

        Validation accuracy is that of the last epoch, as in the report.
        """
        return next((name for name in ("test/accuracy", "val/accuracy") if name in self.published), None)

    @property
    def is_of_last_epoch(self) -> bool:
        """Whether its difference from the report is that of validation in the last epoch."""
        return self.published_metric == "val/accuracy"

    def remark(self) -> str:
        """Judge over- and underfitting from the end of the curves, by :data:`RULE`."""
        gap = self.mean("train/accuracy") - self.mean("val/accuracy")
        rise = self.mean("val/loss") / max(self.mean("best/val_loss"), 1e-12)
        late = fmean(run.metrics["best/epoch"] / max(_epochs(run), 1) for run in self.runs)
        if gap >= OVERFITTING_GAP or rise >= OVERFITTING_RISE:
            return "overfitting"
        if gap >= SLIGHT_GAP or rise >= SLIGHT_RISE:
            return "slight overfitting"
        if gap < 0 and late > LATE:
            return "strong underfitting" if gap <= -SLIGHT_GAP else "underfitting"
        return "balanced"


def newest(runs: Iterable[TrackedRun]) -> tuple[list[TrackedRun], list[TrackedRun]]:
    """Choose the newest completely logged run of each configuration, data set, split and seed.

    Args:
        runs: Newest first.

    Returns:
        The chosen runs, and all runs that were not logged completely.
    """
    chosen: dict[tuple[Identity, int], TrackedRun] = {}
    broken = []
    for run in runs:
        if run.missing:
            broken.append(run)
        else:
            chosen.setdefault((identity(run), run.seed), run)
    return list(chosen.values()), broken


def group(runs: Iterable[TrackedRun], known: Mapping[tuple[str, str], Experiment]) -> list[Group]:
    """Group runs by configuration, data set and split; in the order of ``known``, then by label.

    Args:
        runs: One for each configuration and seed, as :func:`newest` returns them.
        known: Experiments by name and configuration.
    """
    by_identity: dict[Identity, list[TrackedRun]] = {}
    for run in runs:
        by_identity.setdefault(identity(run), []).append(run)
    groups = [
        _make_group(sorted(members, key=lambda run: run.seed), known.get(_name(members[0])))
        for members in by_identity.values()
    ]
    groups = _tell_apart(_with_parameters(groups))
    places = {name: place for place, name in enumerate(known)}
    return sorted(groups, key=lambda g: (places.get(_name(g.runs[0]), len(places)), not g.is_default, g.label))


def groups_of(experiment: Experiment, groups: Sequence[Group]) -> list[Group]:
    """Return an experiment's groups: defaults first, then those with published figures, then the newest."""
    own = [
        group
        for group in groups
        if (group.runs[0].experiment, group.runs[0].configuration) == (experiment.name, experiment.configuration)
    ]
    return sorted(own, key=lambda group: (not group.is_default, not group.published, -_newest(group)))


def chosen_groups(entries: Sequence[Experiment | Study | tuple[str, str]], groups: Sequence[Group]) -> list[Group]:
    """Return the group that represents each experiment in the report; experiments without runs have none."""
    experiments = [
        experiment for entry in entries if not isinstance(entry, tuple) for experiment in experiments_of(entry)
    ]
    return [found[0] for experiment in experiments if (found := groups_of(experiment, groups))]


# Columns of the table in which higher is better, and which therefore sort in descending order.
DESCENDING = (
    *("val_accuracy", "test_accuracy", "test_balanced_accuracy", "test_f1_macro"),
    *("difference", "published", "measured", "n"),
)


def table(groups: Sequence[Group]) -> pd.DataFrame:
    """Return one row per group: hyperparameters, measured (mean, sd, n), published, difference, remark."""
    rows = []
    for g in groups:
        first = g.runs[0]
        metric = g.published_metric
        published = g.published[metric] if metric else None
        rows.append(
            {
                "experiment": first.experiment,
                "configuration": first.configuration,
                "label": g.label,
                **(hyperparameters(first.params) | {"dataset": g.dataset}),  # its name, however it was given
                "n": len(g.runs),
                "seeds": " ".join(str(run.seed) for run in g.runs),
                "val_accuracy": g.mean("best/val_accuracy"),
                "val_accuracy_sd": g.sd("best/val_accuracy"),
                "test_accuracy": g.mean("test/accuracy"),
                "test_accuracy_sd": g.sd("test/accuracy"),
                "test_balanced_accuracy": g.mean("test/recall_macro"),  # the same where each class has test images
                "test_f1_macro": g.mean("test/f1_macro"),
                "test_f1_macro_sd": g.sd("test/f1_macro"),
                "epoch_seconds": g.epoch_seconds,
                "parameters": whole_number(first.params.get("model_parameters", "")),
                "published_metric": metric,
                "published": published,
                "measured": g.mean(metric) if metric else None,  # of the same metric
                "difference": g.mean(metric) - published if metric and published is not None else None,
                "remark": g.remark(),
                "published_remark": g.experiment.published.remark if g.experiment and g.published else "",
                "data_digest": first.data_digest,
                "split_digest": first.split_digest,
                "run_ids": " ".join(run.run_id for run in g.runs),
            }
        )
    return pd.DataFrame(rows)


def unique_label(group: Group, groups: Sequence[Group]) -> str:
    """Return the group's label; if others among ``groups`` share it, with the digests that tell them apart."""
    same = [other.runs[0] for other in groups if other.label == group.label]
    digests = []
    for name in ("data_digest", "split_digest"):
        own = getattr(group.runs[0], name)
        if len({getattr(run, name) for run in same}) > 1:
            digests.append(own[:8])
            same = [run for run in same if getattr(run, name) == own]
    return f"{group.label} [{' '.join(digests)}]" if digests else group.label


def _make_group(runs: Sequence[TrackedRun], experiment: Experiment | None) -> Group:
    first = runs[0]
    name = f"{first.experiment}-{first.configuration}" if first.configuration else first.experiment
    if experiment is None:
        return Group(name, tuple(runs), None, is_default=False)
    others = differing(experiment.config, first)
    differs = ", ".join(f"{key}={short(value)}" for key, value in others.items())
    return Group(
        f"{name} ({differs})" if differs else name,
        tuple(runs),
        experiment,
        is_default=not others,
        differences=differs,
    )


def _with_parameters(groups: Sequence[Group]) -> list[Group]:
    """The groups, with those parameters in the label in which others of the same label differ.

    They are there already unless this code does not know the experiment, and so its defaults.
    """
    values = [hyperparameters(one.runs[0].params) for one in groups]
    texts: dict[str, dict[str, set[str]]] = {}  # by label and parameter
    for one, own in zip(groups, values, strict=True):
        for name, value in own.items():
            texts.setdefault(one.label, {}).setdefault(name, set()).add(short(value))
    found = []
    for one, own in zip(groups, values, strict=True):
        varied = [name for name, several in texts[one.label].items() if len(several) > 1 and own[name] is not None]
        differs = ", ".join(f"{name}={short(own[name])}" for name in varied)
        found.append(replace(one, label=f"{one.label} ({differs})") if differs else one)
    return found


def _tell_apart(groups: Sequence[Group]) -> list[Group]:
    """The groups, with their weights' digest in the label where another has the same label and other weights."""
    weights = [identity(one.runs[0]).weights for one in groups]
    by_label: dict[str, set[str]] = {}
    for one, its in zip(groups, weights, strict=True):
        by_label.setdefault(one.label, set()).add(its)
    return [
        replace(one, label=f"{one.label} [{its[:8]}]") if len(by_label[one.label]) > 1 else one
        for one, its in zip(groups, weights, strict=True)
    ]


def _name(run: TrackedRun) -> tuple[str, str]:
    return run.experiment, run.configuration


def _epochs(run: TrackedRun) -> float:
    value = hyperparameters(run.params)["epochs"]
    return value if isinstance(value, (int, float)) else 0.0  # a tracked parameter can be any text


def short(value: str | float | None) -> str:
    """Format a value for a label: only the last part of a path, at most :data:`LONGEST_VALUE` characters."""
    if isinstance(value, str):
        parts = (part if part.startswith("models:/") else part.rpartition("/")[2] for part in value.split(","))
        text = printable(",".join(parts))
        return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _newest(group: Group) -> int:
    return max(run.start_time for run in group.runs)
