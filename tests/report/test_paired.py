"""Two models on the same test images: counts, the interval of the difference, and McNemar's test."""

import numpy as np
import pandas as pd
import pytest

from tests.support.made_runs import COUNT, predictions
from tp1.base.errors import TP1Error
from tp1.report.comparison_page import paired_blocks
from tp1.report.paired import bootstrap_interval, compare_predictions, mcnemar
from tp1.training.evaluation import prediction_table


def test_counts_difference_and_classes_are_those_of_the_images():
    first, second = predictions(0.9, seed=1), predictions(0.7, seed=2)
    pair = compare_predictions(first, second)
    right = [(table["predicted"] == table["true"]).to_numpy() for table in (first, second)]
    assert (pair.images, pair.first_accuracy, pair.second_accuracy) == (COUNT, 0.9, 0.7)
    assert pair.difference == pytest.approx(0.2)
    assert pair.only_first == (right[0] & ~right[1]).sum()
    assert pair.only_second == (right[1] & ~right[0]).sum()
    assert pair.low < pair.difference < pair.high
    assert pair.classes["images"].sum() == COUNT
    assert pair.classes["gain"].is_monotonic_decreasing
    weighted = (pair.classes["gain"] * pair.classes["images"]).sum() / COUNT
    assert weighted == pytest.approx(pair.difference)


def test_a_model_against_itself_is_no_difference():
    pair = compare_predictions(predictions(0.8), predictions(0.8))
    assert (pair.difference, pair.low, pair.high, pair.p_value) == (0, 0, 0, 1)


def test_the_interval_is_that_of_a_bootstrap_over_images():
    from scipy.stats import bootstrap

    differences = np.repeat([-1, 0, 1], [30, 400, 70])
    low, high = bootstrap_interval(differences)
    other = bootstrap((differences,), np.mean, method="percentile", rng=np.random.default_rng(1)).confidence_interval
    assert (low, high) == pytest.approx((other.low, other.high), abs=0.004)
    assert bootstrap_interval(differences) == (low, high)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        low, high = bootstrap_interval(generator.choice([-1, 0, 1], 500, p=[0.05, 0.85, 0.10]))
        covered += low <= 0.05 <= high
    assert 0.91 <= covered / 300 <= 0.98


@pytest.mark.parametrize(("first", "second", "p"), [(0, 0, 1.0), (5, 5, 1.0), (10, 0, 2 / 2**10), (8, 2, 0.109375)])
def test_mcnemar_is_exact(first, second, p):
    assert mcnemar(first, second) == pytest.approx(p)


@pytest.mark.parametrize("fault", ["fewer images", "other images", "other classes"])
def test_different_images_are_refused(fault):
    first, second = predictions(0.8), predictions(0.8)
    if fault == "fewer images":
        second = second.iloc[:-1]
    elif fault == "other images":
        second["index"] += 1
    else:
        second = second.rename(columns={"owl": "eel"})
    with pytest.raises(TP1Error, match="different test images or classes"):
        compare_predictions(first, pd.DataFrame(second))


def test_the_table_of_many_classes_shows_the_outermost():
    count = 200
    true = np.repeat(np.arange(count), 2)
    tables = []
    for seed in (0, 1):
        probabilities = np.random.default_rng(seed).random((len(true), count), np.float32)
        tables.append(prediction_table(np.arange(len(true)), true, probabilities, [f"c{n}" for n in range(count)]))
    pair = compare_predictions(*tables)
    _, table = paired_blocks(pair)
    assert len(table.rows) == 50
    assert table.caption.endswith("150 between them are left out.")
    assert table.rows[0][0] == pair.classes["class"].iloc[0]
    assert table.rows[-1][0] == pair.classes["class"].iloc[-1]
