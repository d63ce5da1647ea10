"""Bootstrap intervals: those of SciPy, and as wide as theory says."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from tp1.report.intervals import RESAMPLES, bootstrap


@pytest.fixture(scope="module")
def predictions() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """400 images of three classes and one that is never true; their Brier scores."""
    generator = np.random.default_rng(2)
    true = generator.integers(3, size=400)
    predicted = np.where(generator.random(400) < 0.7, true, generator.integers(4, size=400))
    return true, predicted, generator.random(400)


def test_they_are_scipys(predictions):
    true, predicted, scores = predictions
    found = bootstrap(true, predicted, scores, 3)

    def interval(statistic) -> tuple[float, float]:
        result = stats.bootstrap(
            (np.arange(400),), statistic, method="percentile", n_resamples=RESAMPLES, rng=np.random.default_rng(1)
        )
        return result.confidence_interval

    def f1_macro(rows: np.ndarray) -> float:
        hits, there, taken = (
            np.bincount(chosen, minlength=4)[:3]
            for chosen in (true[rows][true[rows] == predicted[rows]], true[rows], predicted[rows])
        )
        return float((2 * hits / (there + taken)).mean())

    assert f1_macro(np.arange(400)) == pytest.approx(f1_score(true, predicted, average="macro", labels=[0, 1, 2]))
    statistics = {
        "accuracy": lambda rows, axis: (true == predicted)[rows].mean(axis=axis),
        "brier": lambda rows, axis: scores[rows].mean(axis=axis),
        "f1_macro": f1_macro,
    }
    for name, statistic in statistics.items():
        assert getattr(found, name) == pytest.approx(interval(statistic), abs=0.007), name
    recall = interval(lambda rows: (predicted[rows][true[rows] == 1] == 1).mean())
    assert tuple(found.recall[1]) == pytest.approx(recall, abs=0.015)


def test_more_images_make_them_narrower_by_the_root():
    def width(count: int) -> float:
        predicted = (np.arange(count) % 5 == 0).astype(np.int64)  # 80 % are right
        low, high = bootstrap(np.zeros(count, np.int64), predicted, np.zeros(count), 1).accuracy
        return high - low

    assert width(400) == pytest.approx(2 * 1.96 * (0.8 * 0.2 / 400) ** 0.5, rel=0.1)
    assert width(10_000) == pytest.approx(width(400) / 5, rel=0.1)


def test_a_class_without_images_has_none(predictions):
    true, predicted, scores = predictions
    found = bootstrap(true, predicted, scores, 4)
    assert np.isnan(found.recall[3]).all()
    assert not np.isnan(found.recall[:3]).any()
