"""Calibration: whether a classifier's confidence matches its accuracy."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

BINS = 15


def reliability(probabilities: NDArray[np.float32], true: NDArray[np.int64]) -> pd.DataFrame:
    """Return confidence and accuracy by bins of the confidence, which is the probability of the predicted class.

    Args:
        probabilities: (N, classes).
        true: (N,) class numbers.

    Returns:
        One row for each of :data:`BINS` bins of equal width, open below and closed above: ``low``, ``high``,
        ``images``, and their mean ``confidence`` and ``accuracy``, which are NaN in an empty bin.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == true
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    images = np.bincount(bins, minlength=BINS)
    filled = np.where(images > 0, images, np.nan)
    edges = np.arange(BINS + 1) / BINS
    return pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "images": images,
            "confidence": np.bincount(bins, weights=confidence, minlength=BINS) / filled,
            "accuracy": np.bincount(bins, weights=right, minlength=BINS) / filled,
        }
    )


def expected_calibration_error(probabilities: NDArray[np.float32], true: NDArray[np.int64]) -> float:
    """Mean gap between confidence and accuracy over the bins of :func:`reliability`, weighted by images; 0 to 1.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, equation 3.

    Args:
        probabilities: (N, classes).
        true: (N,) class numbers.
    """
    bins = reliability(probabilities, true)
    gaps = (bins["accuracy"] - bins["confidence"]).abs()  # of an empty bin NaN, which the sum leaves out
    return float((gaps * bins["images"]).sum() / len(true))


def brier_scores(probabilities: NDArray[np.float32], true: NDArray[np.int64]) -> NDArray[np.float64]:
    """Squared distance of each image's probabilities from the truth, summed over classes: (N,), 0 to 2.

    Their mean is the Brier score.

    Source: Brier 1950, Verification of Forecasts Expressed in Terms of Probability, equation 2.

    Args:
        probabilities: (N, classes).
        true: (N,) class numbers.
    """
    exact = probabilities.astype(np.float64)
    of_true = exact[np.arange(len(true)), true]
    scores: NDArray[np.float64] = (exact**2).sum(axis=1) - 2 * of_true + 1
    return scores
