"""The bounds of hyperparameters, and what is said of a value outside them."""

from dataclasses import replace

import pytest

from tp1.base.errors import TP1Error
from tp1.config import HYPERPARAMETERS, TrainConfig, differences, tracked_reading
from tp1.recipe import SGD, Adam, Constant, Cosine, Linear, Muon, OneCycle, step_size


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
        ("augment", "turn"),
        ("augment", "crop-flip"),
        ("augment", "flip-flip"),
        ("tta", "crop"),
        ("optimizer", "lion"),
        ("schedule", "step"),
        ("label_smoothing", 1.0),
        ("averaging", 1.0),
        ("device", "tpu"),
        ("precision", "fp8"),
        ("compile", "fast"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_range(name, value):
    with pytest.raises(
        TP1Error, match=rf"^{name}={value} .*: (it must be|choose) |^augment= is not usable: it must be"
    ):
        TrainConfig().changed(**{name: value})


def test_the_bounds_themselves_are_allowed():
    TrainConfig(epochs=1, batch_size=1, dropout=0.0, optimizer=Adam(weight_decay=0.0), seed=0, image_size=8)


def test_how_data_was_read_is_known_from_a_tracked_run():
    assert tracked_reading({"skip_broken": "yes", "seed": "3"}) == replace(TrainConfig(), skip_broken="yes").reading
    assert tracked_reading({}) == TrainConfig().reading  # a run of before there was a choice


def test_a_data_set_may_be_called_a_number():
    tracked = {"dataset": "2750", "learning_rate": "1e-3"}
    assert not differences(TrainConfig(dataset="2750"), tracked)
    assert differences(TrainConfig(dataset="2750.0"), tracked) == {"dataset": "2750"}


def test_a_group_is_its_variant_and_its_knobs_side_by_side():
    config = TrainConfig(optimizer=SGD(learning_rate=0.5), schedule=Linear(warmup=0.1))
    flat = config.flat()
    wanted = {"optimizer": "sgd", "learning_rate": 0.5, "weight_decay": 5e-4, "momentum": 0.9, "schedule": "linear"}
    assert {name: flat[name] for name in wanted} == wanted
    assert flat["adam_rate"] is None
    assert TrainConfig.of(flat) == config
    assert config.changed(momentum=0.8).optimizer == SGD(learning_rate=0.5, momentum=0.8)
    assert config.changed(optimizer="muon", momentum=0.8).optimizer == Muon(momentum=0.8)
    assert config.changed(optimizer="sgd").optimizer == config.optimizer  # nothing else: its knobs stay
    assert config.changed(optimizer="adam", schedule="constant") == TrainConfig()
    with pytest.raises(TP1Error, match=r"momentum=0\.8: optimizer=adam has no momentum; it has learning_rate, weight_"):
        TrainConfig().changed(momentum=0.8)
    with pytest.raises(TP1Error, match=r"warmup=0\.1: schedule=constant has no warmup; it has no parameters"):
        TrainConfig().changed(warmup=0.1)
    with pytest.raises(TypeError):
        TrainConfig().changed(nothing=1)


def test_runs_from_before_the_groups_are_the_same_configuration():
    """They tracked learning rate and weight decay of Adam, and had no other optimiser."""
    tracked = {"learning_rate": "1e-3", "weight_decay": "0.0", "epochs": "25", "batch_size": "64", "dropout": "0.0"}
    assert not differences(TrainConfig(), tracked)
    other = {"optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0}
    assert differences(TrainConfig(optimizer=SGD()), tracked) == other
    now = {name: str(value) for name, value in TrainConfig(schedule=Cosine()).flat().items() if value is not None}
    assert differences(TrainConfig(), now) == {"schedule": "cosine"}
    assert {"optimizer", "momentum", "schedule", "warmup", "averaging", "tta"} < set(HYPERPARAMETERS)


@pytest.mark.parametrize("schedule", [Constant(), Linear(), Linear(warmup=0.3), Cosine(warmup=0.1), OneCycle()])
def test_a_schedule_is_a_share_that_ends_near_zero(schedule):
    shares = [step_size(schedule, step, 100) for step in range(100)]
    assert all(0 < share <= 1 for share in shares)
    peak = shares.index(max(shares))
    assert shares[:peak] == sorted(shares[:peak])
    assert shares[peak:] == sorted(shares[peak:], reverse=True)
    assert peak == round(100 * getattr(schedule, "warmup", 0))
    assert shares[-1] == 1 if schedule == Constant() else shares[-1] < 0.02
    assert max(shares) == 1
    assert step_size(schedule, 0, 1) == 1
