"""Calibration: on cases whose error is known, and as scikit-learn measures it."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from tp1.report.calibration import BINS, brier_scores, expected_calibration_error, reliability


def test_probabilities_that_are_what_they_say_have_none():
    probabilities = np.tile(np.array([0.75, 0.25], np.float32), (4, 1))
    assert expected_calibration_error(probabilities, np.array([0, 0, 0, 1])) == pytest.approx(0)
    assert expected_calibration_error(probabilities, np.array([0, 1, 1, 1])) == pytest.approx(0.5)


def test_bins_are_weighted_by_their_images():
    sure, unsure = [1.0, 0.0], [0.5, 0.5]
    probabilities = np.array([sure, sure, sure, unsure], np.float32)
    true = np.array([0, 0, 1, 0])  # of the sure ones 2/3 right: a gap of 1/3; the unsure one right: 1/2
    assert expected_calibration_error(probabilities, true) == pytest.approx(0.75 / 3 + 0.25 / 2)


def test_gaps_of_opposite_signs_in_different_bins_do_not_cancel():
    probabilities = np.array([[1.0, 0.0], [0.6, 0.4]], np.float32)
    assert expected_calibration_error(probabilities, np.array([1, 0])) == pytest.approx((1 + 0.4) / 2)


@pytest.fixture
def predictions() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of 2,000 images in four classes, some on the very edges of bins, and the true classes."""
    generator = np.random.default_rng(5)
    probabilities = generator.dirichlet([0.6] * 4, 2000).astype(np.float32)
    probabilities[:3] = [[0.4, 0.2, 0.2, 0.2], [1, 0, 0, 0], [0.25] * 4]
    true = np.array([generator.choice(4, p=row / row.sum()) for row in probabilities.astype(np.float64)])
    return probabilities, true


def test_reliability_is_scikit_learns(predictions):
    probabilities, true = predictions
    bins = reliability(probabilities, true)
    right, confidence = probabilities.argmax(axis=1) == true, probabilities.max(axis=1)
    accuracy, mean = calibration_curve(right, confidence, n_bins=BINS)
    filled = bins[bins["images"] > 0]
    assert filled["accuracy"].to_numpy() == pytest.approx(accuracy)
    assert filled["confidence"].to_numpy() == pytest.approx(mean)
    assert bins["images"].sum() == 2000
    assert bins[bins["images"] == 0][["accuracy", "confidence"]].isna().all(axis=None)  # none is as unsure as that
    error = (filled["images"] * np.abs(accuracy - mean)).sum() / 2000
    assert expected_calibration_error(probabilities, true) == pytest.approx(error)


def test_the_brier_score_is_scikit_learns(predictions):
    probabilities, true = predictions
    probabilities = probabilities.astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)  # which float32 does not do exactly
    expected = brier_score_loss(true, probabilities, labels=range(4), scale_by_half=False)
    assert brier_scores(probabilities, true).mean() == pytest.approx(expected, rel=1e-6)
    sure = np.eye(4, dtype=np.float32)[[0, 1]]
    assert brier_scores(sure, np.array([0, 2])).tolist() == [0, 2]
