"""Calibration: whether a classifier's confidence matches its accuracy."""

import numpy as np
from numpy.typing import NDArray

BINS = 15


def expected_calibration_error(probabilities: NDArray[np.float32], true: NDArray[np.int64]) -> float:
    """Mean gap between confidence and accuracy over :data:`BINS` bins of equal width, weighted by images; 0 to 1.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, equation 3.

    Args:
        probabilities: (N, classes).
        true: (N,) class numbers.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == true
    # Bins are open below and closed above, as in the paper.
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=BINS)  # per bin: images times gap
    return float(np.abs(gaps).sum() / len(true))
