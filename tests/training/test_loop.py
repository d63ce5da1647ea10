"""Training learns, gives the same bits for the same seed, and keeps the weights of the best epoch."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from tests.support.made_training import CONFIG, part
from tp1.base.errors import TP1Error
from tp1.config import TrainConfig
from tp1.data.dataset import Part
from tp1.models.classifier import Classifier, Preparation
from tp1.models.cnn import CNNV2
from tp1.training.inference import predict_logits
from tp1.training.loop import TrainingState, balanced_weights, start, train

TRAIN = part(40, seed=1)


def trained(
    config: TrainConfig = CONFIG, train_part: Part = TRAIN, net: nn.Module | None = None, **changes
) -> TrainingState:
    config = config.changed(**changes)
    torch.manual_seed(config.seed)
    net = net or CNNV2(3, 32, config.dropout)
    classifier = Classifier(net, tuple("abc"), Preparation(32, (0.5,) * 3, (0.25,) * 3))
    state = start(classifier, config, torch.device("cpu"))
    train(state, train_part, part(10, seed=2), config)
    return state


def test_golden_loss():
    """A change that promises to change nothing must give these figures again (fp32, any x86 or Arm processor)."""
    losses = [epoch.train_loss for epoch in trained(learning_rate=1e-4).history]
    assert losses == pytest.approx([0.7850, 0.3082, 0.1455], rel=2e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("augment", ["none", "flip-crop"])
def test_the_same_seed_gives_the_same_bits(precision, augment):
    first, second = (trained(precision=precision, augment=augment) for _ in range(2))
    for one, other in zip(first.classifier.state_dict().values(), second.classifier.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    losses = [[epoch.train_loss for epoch in state.history] for state in (first, second)]
    assert losses[0] == losses[1]


def test_another_seed_gives_other_weights():
    assert trained(seed=1).history[0].train_loss != trained(seed=2).history[0].train_loss


def test_training_learns():
    state = trained(epochs=6)
    assert state.history[-1].val_accuracy > 0.9
    assert state.history[-1].train_loss < 0.5 * state.history[0].train_loss


def test_the_weights_of_the_best_validation_epoch_are_kept():
    from tp1.training.inference import evaluate

    state = trained(epochs=5, learning_rate=0.02)
    best = max(epoch.val_accuracy for epoch in state.history)
    first_best = next(epoch for epoch in state.history if epoch.val_accuracy == best)
    assert state.best == first_best
    assert evaluate(state.classifier, part(10, seed=2), tuple("abc")).accuracy == pytest.approx(best)


def test_figures_of_an_epoch_are_what_they_say():
    epoch = trained().history[0]
    assert epoch.number == 1
    assert 0 <= epoch.train_accuracy <= 1
    assert epoch.images_per_second > 0


@pytest.mark.parametrize("learning_rate", [1e30, 1e38])
def test_a_loss_that_is_no_longer_finite_stops_training_at_once(learning_rate):
    with pytest.raises(TP1Error, match=r"loss became (nan|inf) in epoch 1, by step \d+.*smaller learning_rate"):
        trained(learning_rate=learning_rate)


@pytest.mark.parametrize("batch_size", [120, 64])
def test_weights_that_the_last_step_ruins_are_not_kept(batch_size):
    """The loss of a step is taken before the step: only validation sees what the last one did."""
    with pytest.raises(TP1Error, match=r"loss became (nan|inf)"):
        trained(learning_rate=1e18, epochs=1, batch_size=batch_size)


def test_a_last_batch_of_one_image_is_joined_to_the_one_before():
    state = trained(epochs=1, batch_size=17)  # 120 = 7 * 17 + 1
    assert state.history[0].train_loss > 0


def test_a_batch_of_one_image_that_batch_norm_cannot_take_is_refused_in_one_line():
    with pytest.raises(TP1Error, match=r"batch of one image \(Expected more than 1 value .*batch_size=2 or more"):
        trained(net=nn.Sequential(nn.AvgPool2d(32), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 3)), batch_size=1)


def test_a_batch_larger_than_the_data_is_all_of_it():
    larger, whole = (trained(epochs=1, batch_size=size) for size in (1000, 120))
    assert larger.history[0].train_loss == whole.history[0].train_loss


def test_balanced_weights_are_scikit_learns():
    labels = np.repeat([0, 1, 2], [60, 30, 6])
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert balanced_weights(torch.from_numpy(labels), 3).tolist() == pytest.approx(wanted.tolist())


def test_a_rare_class_is_learned_sooner_with_balanced_weights():
    rare = np.flatnonzero((TRAIN.labels != 2) | (np.cumsum(TRAIN.labels == 2) <= 3))
    few = Part(rare, TRAIN.images[rare], TRAIN.labels[rare])
    found = {}
    for class_weights in ("none", "balanced"):
        state = trained(train_part=few, epochs=2, class_weights=class_weights)
        logits = predict_logits(state.classifier, part(10, seed=3).images)
        found[class_weights] = logits[20:].softmax(1)[:, 2].mean().item()
    assert found["balanced"] > found["none"] + 0.05
