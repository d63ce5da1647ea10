"""The rule of promotion: how often it replaces a champion by a model that is no better, and by one that is."""

import numpy as np
import pandas as pd
import pytest

from tp1.registry.contest import LEVEL, Contest
from tp1.report.paired import compare_predictions, greater

IMAGES, TRIALS = 1000, 400


def table(right: np.ndarray) -> pd.DataFrame:
    """Predictions of two classes, right where ``right`` says so."""
    true = np.zeros(len(right), np.int64)
    columns = {"index": np.arange(len(right)), "true": true, "predicted": np.where(right, 0, 1)}
    return pd.DataFrame(columns | {"a": right.astype(np.float32), "b": 1 - right.astype(np.float32)})


def replaced(among: int, gain: float, seed: int) -> dict[str, float]:
    """Share of trials in which the best of ``among`` models replaces a champion, by rule.

    All are right on the same images with the same probabilities; the candidates' are higher by ``gain``.
    """
    generator = np.random.default_rng(seed)
    wins = {"corrected": 0, "not corrected": 0}
    for _ in range(TRIALS):
        easy = generator.beta(2, 0.7, IMAGES)  # the probability that a model gets an image right
        champion = generator.random(IMAGES) < easy
        candidates = generator.random((among, IMAGES)) < np.clip(easy + gain, 0, 1)
        best = candidates[candidates.mean(axis=1).argmax()]
        paired = compare_predictions(table(best), table(champion))
        wins["corrected"] += Contest(paired, among, unseen=False).is_won
        wins["not corrected"] += paired.low > 0
    return {rule: count / TRIALS for rule, count in wins.items()}


@pytest.mark.parametrize("among", [1, pytest.param(5, marks=pytest.mark.long)])
def test_a_champion_is_rarely_replaced_by_its_equal(among):
    found = replaced(among, 0.0, seed=among)
    spread = 3 * (LEVEL * (1 - LEVEL) / TRIALS) ** 0.5
    assert found["corrected"] <= LEVEL + spread
    assert found["not corrected"] > (0.06 if among == 5 else 0)


def test_a_better_model_replaces_it():
    assert replaced(5, 0.06, seed=9)["corrected"] > 0.8


def test_the_p_value_is_the_binomial_tail():
    assert greater(0, 0) == 1
    assert greater(4, 0) == pytest.approx(2**-4)
    assert greater(0, 4) == 1
    assert greater(3, 1) == pytest.approx(5 / 16)
