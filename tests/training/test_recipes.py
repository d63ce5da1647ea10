"""Optimisers, averaged weights, smoothed labels and views of test images do what their papers say."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.support.made_training import CONFIG, part
from tp1.base.errors import TP1Error
from tp1.models.classifier import Classifier, Preparation
from tp1.models.cnn import CNNV2
from tp1.recipe import SGD, Adam, Muon
from tp1.training.inference import evaluate, predict_logits
from tp1.training.loop import TrainingState, start, train
from tp1.training.optimizers import FilterMuon, make_optimizers
from tp1.training.tta import shifted_by, views

CLASSES = tuple("abc")


def classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier(CNNV2(3, 32, 0.0), CLASSES, Preparation(32, (0.5,) * 3, (0.25,) * 3))


def trained(**changes) -> TrainingState:
    config = CONFIG.changed(**changes)
    torch.manual_seed(0)
    state = start(classifier(), config, torch.device("cpu"))
    train(state, part(40, seed=1), part(10, seed=2), config)
    return state


@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": "sgd", "learning_rate": 0.02, "schedule": "one-cycle"},
        {"optimizer": "muon", "schedule": "linear", "label_smoothing": 0.2},
        {"averaging": 0.8, "augment": "altflip-translate"},
    ],
)
def test_every_recipe_learns(recipe):
    assert trained(epochs=5, **recipe).best.val_accuracy > 0.9


def one_step(optimizer) -> tuple[dict, dict]:
    """Parameters before and after a step with a gradient of ones; the model is in the channels-last layout."""
    model = classifier().to(memory_format=torch.channels_last)
    before = copy.deepcopy(dict(model.named_parameters()))
    optimizers = make_optimizers(optimizer, model, "fp32")
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizers.step()
    return before, dict(model.named_parameters())


def test_sgd_and_adam_take_torchs_steps():
    before, after = one_step(SGD(learning_rate=0.5, weight_decay=0.0, momentum=0.5))
    for name, value in after.items():  # Nesterov: gradient + momentum * buffer
        torch.testing.assert_close(value, before[name] - 0.5 * 1.5)
    before, after = one_step(Adam(learning_rate=0.5))
    for name, value in after.items():
        torch.testing.assert_close(value, before[name] - 0.5)


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.bfloat16, 0.0), (torch.float32, 0.02)])
@pytest.mark.parametrize("filters", [8, 40])  # a wide matrix, and a tall one
def test_muon_makes_the_step_of_a_filter_bank_orthogonal(filters, dtype, allowed):
    torch.manual_seed(3)
    shape = (filters, 4, 3, 3)
    filters = nn.Parameter(torch.randn(*shape).to(memory_format=torch.channels_last))
    plain = nn.Parameter(filters.detach().permute(0, 2, 3, 1).reshape(len(filters), -1).clone())
    gradient = torch.randn(*shape)
    own, torchs = (
        FilterMuon([filters], 0.1, 0.3, 0.9, dtype),
        torch.optim.Muon([plain], lr=0.1, weight_decay=0.3, momentum=0.9),
    )
    before = filters.detach().clone()
    for _ in range(3):
        filters.grad, plain.grad = gradient.clone(), gradient.permute(0, 2, 3, 1).reshape(len(filters), -1).clone()
        own.step()
        torchs.step()
    found = filters.detach().permute(0, 2, 3, 1).reshape(len(filters), -1)
    torch.testing.assert_close(found, plain.detach(), rtol=0, atol=allowed)
    step = (filters.detach() - before * (1 - 0.1 * 0.3) ** 3).reshape(len(filters), -1)
    singular = torch.linalg.svdvals(step)
    assert singular.min() > 0.4 * singular.max()
    own.zero_grad()
    assert filters.grad is None


def test_muon_has_nothing_to_do_where_one_layer_is_trained():
    """Its parameters would have had no effect, and Adam would have trained in its name."""
    with pytest.raises(TP1Error, match=r"optimizer=muon: one layer alone is trained.*: give optimizer=adam\."):
        make_optimizers(Muon(), nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), "fp32")


def test_muon_leaves_the_last_layer_to_adam():
    muon, adam = make_optimizers(Muon(), classifier(), "fp32").parts
    assert len(muon.filters) == 5  # four convolutions and the hidden dense layer
    assert sum(len(group["params"]) for group in adam.param_groups) == 2 * 4 + 1 + 2


def test_the_average_is_what_is_evaluated_and_kept():
    state = trained(averaging=0.9)
    kept = state.classifier.state_dict()
    assert state.evaluated is not state.classifier
    for name, value in state.best_weights.items():
        assert torch.equal(kept[name], value)
    plain = trained()
    assert plain.evaluated is plain.classifier
    last = state.average.module.state_dict()["net.head.1.weight"]
    assert not torch.equal(last, plain.classifier.state_dict()["net.head.1.weight"])
    # Decay 0.9 of constant weights is these weights.
    average = copy.deepcopy(state.average)
    for _ in range(200):
        average.update_parameters(plain.classifier)
    torch.testing.assert_close(
        average.module.state_dict()["net.head.1.weight"], plain.classifier.state_dict()["net.head.1.weight"]
    )


def test_smoothed_labels_raise_the_loss_that_is_trained_on():
    plain, smooth = (trained(label_smoothing=share).history[-1] for share in (0.0, 0.3))
    assert smooth.train_loss > plain.train_loss + 0.2
    logits, target = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    expected = 0.7 * F.cross_entropy(logits, target) - 0.3 * F.log_softmax(logits, 1).mean()
    torch.testing.assert_close(F.cross_entropy(logits, target, label_smoothing=0.3), expected)


def test_views_are_the_mean_over_mirrored_and_shifted_images():
    model, images = classifier().eval(), part(4, seed=3)
    batch = torch.from_numpy(images.images)
    for tta, count in (("none", 1), ("flip", 2), ("flip-translate", 6)):
        seen = list(views(batch, tta))
        assert len(seen) == count
        assert sum(weight for weight, _ in seen) == 1
    moved = shifted_by(batch, 1)
    assert torch.equal(moved[:, 1:, 1:], batch[:, :-1, :-1])
    assert torch.equal(moved[:, 0, 1:], batch[:, 0, :-1])
    found = evaluate(model, images, CLASSES, "flip").probabilities
    mirrored = np.ascontiguousarray(images.images[:, :, ::-1])
    both = [predict_logits(model, one).softmax(1).numpy() for one in (images.images, mirrored)]
    np.testing.assert_allclose(found, sum(both) / 2, atol=1e-6)
