"""Networks with frozen layers: what moves, what is cached, their shapes and parameter counts."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import coloured_images
from tp1.base.errors import TP1Error
from tp1.config import TrainConfig
from tp1.data.dataset import Part
from tp1.experiment import Transfer
from tp1.models.classifier import Preparation
from tp1.models.networks import alexnet, mobilenet_v2
from tp1.models.transfer import CHANNELS, FeatureClassifier, Trunk, build_transfer, join
from tp1.training.inference import predict_logits
from tp1.training.loop import start, train

CLASSES = tuple("abc")
CONFIG = TrainConfig(epochs=2, batch_size=8, dropout=0.2, precision="fp32")


def preparation(size: int) -> Preparation:
    return Preparation(size, (0.5,) * 3, (0.25,) * 3)


def part(per_class: int, seed: int) -> Part:
    pixels = np.concatenate([coloured_images(label, per_class, 32, seed) for label in range(3)])
    return Part(np.arange(len(pixels)), pixels, np.repeat(np.arange(3), per_class))


def mobilenet(size: int = 64):
    torch.manual_seed(5)
    model = build_transfer(Transfer("m", ("mobilenet_v2",), 1, "linear"), [preparation(size)], CLASSES, 0.2)
    for module in model.modules():  # batch-norm statistics that are not the initial ones
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model


def features_of(model, images: Part) -> Part:
    joined = join([trunk(torch.from_numpy(images.images)) for trunk in model.ordered_trunks], model.side)
    return Part(images.index, joined.numpy(), images.labels)


def fit(model, train_part, val_part, **changes) -> None:
    torch.manual_seed(9)
    config = replace(CONFIG, **changes)
    train(start(model, config, torch.device("cpu")), train_part, val_part, config)


@pytest.mark.parametrize("augment", ["none", "flip-crop"])
def test_frozen_layers_do_not_move_by_one_bit(augment):
    model = mobilenet()
    before = copy.deepcopy(model.state_dict())
    fit(model, part(8, 1), part(4, 2), augment=augment)
    after = model.state_dict()
    frozen = [key for key in before if key.startswith("trunks.")]
    assert any("running_var" in key for key in frozen)
    assert any("num_batches_tracked" in key for key in frozen)
    assert all(torch.equal(before[key], after[key]) for key in frozen)
    assert not any(torch.equal(before[key], after[key]) for key in before if key.startswith("head."))


def test_cached_and_uncached_training_give_the_same_head():
    cached, whole = mobilenet(), mobilenet()
    train_part, val_part = part(8, 1), part(4, 2)
    fit(whole, train_part, val_part)
    fit(FeatureClassifier(cached), features_of(cached, train_part), features_of(cached, val_part))
    for key, value in whole.head.state_dict().items():
        torch.testing.assert_close(cached.head.state_dict()[key], value, rtol=1e-3, atol=1e-5)


def test_the_whole_gives_the_probabilities_of_the_trained_head():
    model = mobilenet()
    images = part(8, 3)
    fit(FeatureClassifier(model), features_of(model, images), features_of(model, images))
    from_features = predict_logits(FeatureClassifier(model), features_of(model, images).images).softmax(1)
    from_images = predict_logits(model, images.images).softmax(1)
    torch.testing.assert_close(from_images, from_features, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("size", "side"), [(64, 1), (96, 2), (128, 3), (224, 6)])
def test_fusion_brings_mobilenet_to_alexnets_size(size, side):
    fusion = Transfer("f", ("alexnet", "mobilenet_v2"), None, "fusion")
    model = build_transfer(fusion, [preparation(size)] * 2, CLASSES, 0.5).eval()
    assert model.side == side
    images = torch.from_numpy(part(1, 1).images)
    joined = join([trunk(images) for trunk in model.ordered_trunks], side)
    assert joined.shape == (3, 256 + 1280, side, side)
    assert joined.dtype == torch.float16
    assert torch.equal(joined[:, :256], model.ordered_trunks[0](images))
    assert model(images).shape == (3, 3)


def test_alexnets_head_is_torchvisions_classifier():
    model = build_transfer(Transfer("a", ("alexnet",), 6, "alexnet"), [preparation(64)], CLASSES, 0.5).eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == sum(
        p.numel() for p in alexnet(3, 64).parameters()
    )
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 54_546_435
    assert model(torch.from_numpy(part(1, 1).images)).shape == (3, 3)


def test_feature_shapes_are_as_documented():
    assert CHANNELS == {"alexnet": 256, "mobilenet_v2": 1280}
    assert [Trunk("alexnet", preparation(size)).feature_shape() for size in (64, 128)] == [(256, 1, 1), (256, 3, 3)]
    assert Trunk("mobilenet_v2", preparation(64)).feature_shape() == (1280, 2, 2)


@pytest.mark.parametrize(("net", "millions"), [(alexnet, 57.0), (mobilenet_v2, 2.24)])
def test_parameter_counts_are_as_documented(net, millions):
    assert sum(parameter.numel() for parameter in net(10, 64).parameters()) / 1e6 == pytest.approx(millions, rel=0.003)


@pytest.mark.parametrize(("net", "smallest"), [(alexnet, 63), (mobilenet_v2, 32)])
def test_too_small_an_image_is_an_error(net, smallest):
    net(3, smallest).eval()(torch.zeros(1, 3, smallest, smallest))
    with pytest.raises(TP1Error, match=rf"too small for {net.__name__}: give {smallest} or more"):
        net(3, smallest - 1)
