"""How near the measured accuracies are to the published ones."""

from collections.abc import Sequence
from math import sqrt
from statistics import fmean

from tp1.experiment import Experiment, Study, experiments_of
from tp1.report.comparison import Group

ACCURACIES = ("train/accuracy", "val/accuracy", "test/accuracy")  # training and validation: of the last epoch


def printed_accuracies(entries: Sequence[Experiment | Study | tuple[str, str]]) -> int:
    """Return how many accuracies the report prints for its experiments, training, validation and test together."""
    experiments = [one for entry in entries if not isinstance(entry, tuple) for one in experiments_of(entry)]
    return sum(metric in one.published.metrics() for one in experiments for metric in ACCURACIES)


def accuracy_differences(groups: Sequence[Group]) -> list[float]:
    """Return measured minus published for every published accuracy of the groups; measured is the mean over seeds."""
    return [
        group.mean(metric) - group.published[metric]
        for group in groups
        for metric in ACCURACIES
        if metric in group.published
    ]


def mean_absolute_difference(groups: Sequence[Group]) -> tuple[float, int] | None:
    """Return the mean absolute difference over all published accuracies of the groups, and how many these are.

    None if none of the groups has published accuracies.
    """
    found = accuracy_differences(groups)
    return (fmean(map(abs, found)), len(found)) if found else None


def is_within(group: Group, images: int) -> bool | None:
    """Whether the published accuracy lies within our mean ± 2 standard deviations.

    Their variance is that of the seeds plus the binomial one of a share of ``images`` images, because the published
    figure was measured once, on other images of about this number.

    Args:
        images: Images that the accuracy was measured on; 0 if that is not known.

    Returns:
        None if nothing is published or ``images`` is not known; and for a single seed, whose deviation is not known,
        if the binomial part alone does not reach the published figure.
    """
    metric = group.published_metric
    if metric is None or images == 0:
        return None
    mean, seeds = group.mean(metric), group.sd(metric)
    deviation = sqrt((seeds or 0.0) ** 2 + mean * (1 - mean) / images)
    if abs(group.published[metric] - mean) <= 2 * deviation:
        return True
    return None if seeds is None else False
