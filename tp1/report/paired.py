"""Two models on the same test images: by how much one is better, and how certain that is."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tp1.base.errors import TP1Error

RESAMPLES = 10_000


@dataclass(frozen=True)
class Paired:
    """The first model against the second.

    Attributes:
        images: Test images.
        difference: First accuracy less second.
        low, high: Percentile bootstrap interval of the difference over the test images, 95 %.
        only_first, only_second: Images that only one of the two gets right.
        p_value: McNemar's test, exact and two-sided; null hypothesis: both models err equally often.
        classes: One row per class: images, both recalls and their difference; greatest gain first.
    """

    images: int
    first_accuracy: float
    second_accuracy: float
    difference: float
    low: float
    high: float
    only_first: int
    only_second: int
    p_value: float
    classes: pd.DataFrame


def compare_predictions(first: pd.DataFrame, second: pd.DataFrame) -> Paired:
    """Compare two tables of predictions (``predictions.parquet``) of the same images.

    The bootstrap and McNemar's test account for the choice of test images, not for variation between seeds.

    Source: McNemar 1947; Efron and Tibshirani 1993, chapter 13.

    Raises:
        TP1Error: The tables are of different images or classes.
    """
    same = len(first) == len(second) and (first[["index", "true"]].to_numpy() == second[["index", "true"]].to_numpy())
    if not np.all(same) or list(first.columns) != list(second.columns):
        raise TP1Error("the predictions are of different test images or classes: they cannot be compared in pairs.")
    true = first["true"].to_numpy()
    right = [(frame["predicted"].to_numpy() == true) for frame in (first, second)]
    difference = right[0].astype(int) - right[1].astype(int)
    only_first, only_second = int((difference > 0).sum()), int((difference < 0).sum())
    low, high = bootstrap_interval(difference)
    return Paired(
        images=len(true),
        first_accuracy=float(right[0].mean()),
        second_accuracy=float(right[1].mean()),
        difference=float(difference.mean()),
        low=low,
        high=high,
        only_first=only_first,
        only_second=only_second,
        p_value=mcnemar(only_first, only_second),
        classes=_by_class(true, right[0], right[1], list(first.columns[3:])),
    )


def bootstrap_interval(differences: NDArray[np.int64], level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of N differences of -1, 0 or 1.

    Drawing N of them with replacement is one multinomial draw over the three values, so a resample needs only
    three numbers. The seed is fixed: the same predictions give the same interval.
    """
    count = len(differences)
    shares = [np.count_nonzero(differences == value) / count for value in (-1, 0, 1)]
    draws = np.random.default_rng(0).multinomial(count, shares, RESAMPLES)
    means = (draws[:, 2] - draws[:, 0]) / count
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mcnemar(only_first: int, only_second: int) -> float:
    """P value of McNemar's exact two-sided test, from the counts of images that only one of two models gets right."""
    from scipy.stats import binomtest

    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)


def greater(only_first: int, only_second: int) -> float:
    """P value of McNemar's exact one-sided test; null hypothesis: the first model errs at least as often."""
    from scipy.stats import binomtest

    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second, alternative="greater").pvalue)


def _by_class(
    true: NDArray[np.int64], first: NDArray[np.bool_], second: NDArray[np.bool_], classes: list[str]
) -> pd.DataFrame:
    images = np.bincount(true, minlength=len(classes))
    recalls = [np.bincount(true[right], minlength=len(classes)) / np.maximum(images, 1) for right in (first, second)]
    rows = pd.DataFrame(
        {"class": classes, "images": images, "first": recalls[0], "second": recalls[1], "gain": recalls[0] - recalls[1]}
    )
    return rows.sort_values("gain", ascending=False, kind="stable", ignore_index=True)
