"""The calibration error of probabilities, on cases whose error is known."""

import numpy as np
import pytest

from tp1.report.calibration import expected_calibration_error


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
