"""A checkpoint holds all of training: what goes on from it ends with the same bits."""

import dataclasses
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.support.made_training import CONFIG, part
from tp1.base.errors import TP1Error
from tp1.config import TrainConfig
from tp1.models.classifier import Classifier, Preparation
from tp1.models.cnn import CNNV2
from tp1.tracking.model_files import save_weights
from tp1.training.checkpoints import Checkpoints
from tp1.training.loop import Hooks, TrainingState, start, train


def begin(config: TrainConfig, classes: int = 3, net: nn.Module | None = None) -> TrainingState:
    torch.manual_seed(config.seed)
    net = net or CNNV2(classes, 32, config.dropout)
    classifier = Classifier(net, tuple("abcd"[:classes]), Preparation(32, (0.5,) * 3, (0.25,) * 3))
    return start(classifier, config, torch.device("cpu"))


def go(
    state: TrainingState, config: TrainConfig, checkpoints: Checkpoints, steps: int | None = None, **options
) -> bool:
    """Train on, for so many steps at most."""
    left = iter(range(steps - 1 if steps is not None else 10**9))
    return train(
        state,
        part(40, seed=1),
        part(10, seed=2),
        config,
        Hooks(keep=lambda: checkpoints.save(state), stopped=lambda: next(left, None) is None, **options),
    )


def same(one: TrainingState, other: TrainingState) -> bool:
    pairs = zip(one.classifier.state_dict().values(), other.classifier.state_dict().values(), strict=True)
    losses = [[(epoch.train_loss, epoch.val_loss, epoch.val_accuracy) for epoch in s.history] for s in (one, other)]
    return all(torch.equal(a, b) for a, b in pairs) and losses[0] == losses[1] and one.best.number == other.best.number


RECIPES = (
    {"weight_decay": 1e-3},
    {"weight_decay": 1e-3, "augment": "flip-crop"},
    {"optimizer": "sgd", "learning_rate": 0.02, "schedule": "one-cycle", "augment": "altflip-translate-cutout"},
    {"optimizer": "muon", "schedule": "cosine", "averaging": 0.9, "label_smoothing": 0.1},
)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("steps", [3, 9, 13])  # within an epoch, at its start, within a later one
def test_training_that_stops_and_goes_on_ends_with_the_same_bits(tmp_path, steps, recipe):
    config = CONFIG.changed(**recipe)
    whole = begin(config)
    assert go(whole, config, Checkpoints(tmp_path / "whole"))
    checkpoints = Checkpoints(tmp_path / "stopped")
    first = begin(config)
    assert not go(first, config, checkpoints, steps)
    torch.manual_seed(999)  # another process
    second = begin(dataclasses.replace(config, seed=5))
    assert checkpoints.restore(second)
    assert go(second, config, checkpoints)
    assert same(whole, second)


class Tied(nn.Module):
    """Two convolutions with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.second.weight = self.first.weight
        self.head = nn.Linear(3, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self.first(images).relu()).mean((2, 3)))


def test_layers_that_share_a_weight_go_on_sharing_it(tmp_path):
    whole, first, second = begin(CONFIG, net=Tied()), begin(CONFIG, net=Tied()), begin(CONFIG, net=Tied())
    for state in (first, second):
        state.classifier.load_state_dict(whole.classifier.state_dict())
    assert go(whole, CONFIG, Checkpoints(tmp_path / "whole"))
    checkpoints = Checkpoints(tmp_path / "stopped")
    assert not go(first, CONFIG, checkpoints, 11)
    assert checkpoints.restore(second)
    assert go(second, CONFIG, checkpoints)
    assert same(whole, second)
    net = second.classifier.net
    assert net.first.weight is net.second.weight
    save_weights(second.classifier, tmp_path / "weights.safetensors")
    saved = load_file(tmp_path / "weights.safetensors")
    assert torch.equal(saved["net.first.weight"], saved["net.second.weight"])


def test_the_state_of_adam_keeps_its_parameters_layout(tmp_path):
    """Fused Adam goes through both as they lie in memory."""
    state = begin(CONFIG)
    go(state, CONFIG, Checkpoints(tmp_path), 3)
    fresh = begin(CONFIG)
    assert Checkpoints(tmp_path).restore(fresh)
    for parameter, values in fresh.optimizers.tensors():
        assert values["exp_avg"].stride() == parameter.stride()


def test_two_are_kept_and_there_is_one_within_a_long_epoch(tmp_path):
    state = begin(CONFIG)
    checkpoints = Checkpoints(tmp_path)
    names = []
    original = checkpoints.save

    def save(given: TrainingState):
        names.append(original(given).stem)

    checkpoints.save = save
    assert go(state, CONFIG, checkpoints, keep_every=0.0)
    assert names[:8] == [*(f"000000-{step:09d}" for step in range(1, 8)), "000001-000000000"]
    assert [path.stem for path in checkpoints.paths()] == ["000003-000000000", "000002-000000007"]


@pytest.mark.parametrize("fault", ["truncated", "flipped", "empty", "pickle", "half written", "bomb"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, fault, capsys):
    state = begin(CONFIG)
    checkpoints = Checkpoints(tmp_path)
    go(state, CONFIG, checkpoints, 20)
    newest, before = checkpoints.paths()
    data = bytearray(newest.read_bytes())
    data[-5] ^= 1
    damaged = {
        "truncated": newest.read_bytes()[:-100],
        "flipped": bytes(data),
        "empty": b"",
        "pickle": pickle.dumps({"model": 1}),
        "half written": newest.read_bytes()[:200],
        "bomb": (2**62).to_bytes(8, "little") + b"{}",
    }
    newest.write_bytes(damaged[fault])
    fresh = begin(CONFIG)
    assert checkpoints.restore(fresh)
    assert f"{len(fresh.history):06d}" == before.name[:6]
    assert f"Checkpoint {newest} is damaged and is not used" in capsys.readouterr().out
    before.write_bytes(damaged[fault])
    with pytest.raises(TP1Error, match=r"no checkpoint in .* is whole: .*Close the run"):
        checkpoints.restore(begin(CONFIG))


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    go(begin(CONFIG), CONFIG, Checkpoints(tmp_path), 3)
    with pytest.raises(TP1Error, match="is not of this model"):
        Checkpoints(tmp_path).restore(begin(CONFIG, classes=4))


def test_a_failed_write_leaves_the_last_good_one(tmp_path, monkeypatch):
    state = begin(CONFIG)
    checkpoints = Checkpoints(tmp_path)
    go(state, CONFIG, checkpoints, 3)
    (good,) = checkpoints.paths()

    def full(*args: object) -> None:  # as a full disk shows itself
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tp1.training.checkpoints.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoints.save(state)
    assert list(tmp_path.iterdir()) == [good]
    assert checkpoints.restore(begin(CONFIG))


def test_what_a_kill_left_half_written_is_no_checkpoint(tmp_path):
    state = begin(CONFIG)
    checkpoints = Checkpoints(tmp_path)
    assert not checkpoints.restore(state)
    go(state, CONFIG, checkpoints, 3)
    (good,) = checkpoints.paths()
    shutil.copy(good, tmp_path / ".000009-000000000.safetensors.partial")
    assert checkpoints.paths() == [good]
