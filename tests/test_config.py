"""The bounds of hyperparameters, and what is said of a value outside them."""

from dataclasses import replace

import pytest

from tp1.base.errors import TP1Error
from tp1.config import TrainConfig, tracked_reading


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", -3),
        ("batch_size", 0),
        ("learning_rate", -1.0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("dropout", 1.5),
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("dropout", float("nan")),
        ("weight_decay", -1e-4),
        ("weight_decay", float("inf")),
        ("seed", -1),
        ("image_size", 4),
        ("image_size", 5000),
        ("augment", "rotate"),
        ("device", "tpu"),
        ("precision", "fp8"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_range(name, value):
    with pytest.raises(TP1Error, match=rf"^{name}={value} .*: (it must be|choose) "):
        TrainConfig(**{name: value})


def test_the_bounds_themselves_are_allowed():
    TrainConfig(epochs=1, batch_size=1, dropout=0.0, weight_decay=0.0, seed=0, image_size=8)


def test_how_data_was_read_is_known_from_a_tracked_run():
    assert tracked_reading({"skip_broken": "yes", "seed": "3"}) == replace(TrainConfig(), skip_broken="yes").reading
    assert tracked_reading({}) == TrainConfig().reading  # a run of before there was a choice
