"""Bootstrap intervals of what is measured on images: how much it depends on which images they were."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
LEVEL = 0.95
CHUNK = 2_000_000  # images drawn at once


@dataclass(frozen=True)
class Intervals:
    """Percentile bootstrap intervals of :data:`LEVEL`, each as (low, high).

    There is none of the calibration error: an image drawn twice adds to the gaps, so that the errors of the resamples
    lie above that of the images themselves.

    Attributes:
        recall: float64 (classes, 2); NaN for a class without images.
    """

    accuracy: tuple[float, float]
    f1_macro: tuple[float, float]
    brier: tuple[float, float]
    recall: NDArray[np.float64]


def bootstrap(
    true: NDArray[np.int64], predicted: NDArray[np.int64], brier: NDArray[np.float64], classes: int
) -> Intervals:
    """Draw the N images with replacement, :data:`RESAMPLES` times, and measure each time.

    A resample is the number of times that each image was drawn, so that all sums over its images are one product of
    matrices. The seed is fixed: the same predictions give the same intervals.

    Source: Efron and Tibshirani 1993, chapter 13.

    Args:
        true: (N,) class numbers.
        predicted: (N,) class numbers; those from ``classes`` on are of classes that the images do not have.
        brier: (N,) Brier score of each image.
        classes: Number of classes.
    """
    from scipy.sparse import csr_array

    count = len(true)
    right = predicted == true
    known = predicted < classes
    # Columns: images by true class, by predicted class, and right ones by class.
    rows = np.concatenate([np.arange(count), np.flatnonzero(known), np.flatnonzero(right)])
    columns = np.concatenate([true, classes + predicted[known], 2 * classes + true[right]])
    sums_of = csr_array((np.ones(len(rows)), (rows, columns)), shape=(count, 3 * classes))
    generator = np.random.default_rng(0)
    sums, scores = [], []
    step = max(1, CHUNK // count)
    for start in range(0, RESAMPLES, step):
        some = min(step, RESAMPLES - start)
        drawn = generator.integers(count, size=(some, count)) + count * np.arange(some)[:, None]
        times = np.bincount(drawn.ravel(), minlength=some * count).reshape(some, count).astype(np.float64)
        sums.append(times @ sums_of)
        scores.append(times @ brier / count)
    by_true, by_predicted, hits = np.split(np.concatenate(sums), 3, axis=1)
    with np.errstate(invalid="ignore"):
        recall = hits / by_true
    # As scikit-learn with zero_division=0: a class that is neither there nor predicted has an F1 of 0.
    f1 = 2 * hits / np.maximum(by_true + by_predicted, 1)
    return Intervals(
        _interval(hits.sum(axis=1) / count),
        _interval(f1.mean(axis=1)),
        _interval(np.concatenate(scores)),
        _intervals(recall),
    )


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _intervals(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each column, without the resamples in which the class has no image."""
    return np.array(
        [_interval(kept) if len(kept := column[~np.isnan(column)]) else (np.nan, np.nan) for column in values.T]
    )
