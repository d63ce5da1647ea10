"""Weights whose batch norm was folded: training starts from what they have learned."""

import copy

import torch
from torch import nn
from torchvision import models

from tp1.models.folded import is_folded, unfold


def folded(net: nn.Module) -> nn.Module:
    """The network with its batch norm folded into the convolutions, so that it computes the same."""
    net = copy.deepcopy(net).eval()
    modules = dict(net.named_modules())
    for name, layer in modules.items():
        if isinstance(layer, nn.BatchNorm2d):
            parent, _, number = name.rpartition(".")
            conv = modules[f"{parent}.{int(number) - 1}"]
            scale = layer.weight.data / (layer.running_var + layer.eps).sqrt()
            conv.weight.data *= scale[:, None, None, None] * (1 + layer.eps) ** 0.5
            layer.bias.data -= scale * layer.running_mean
            layer.weight.data.fill_(1)
            layer.running_mean.zero_()
            layer.running_var.fill_(1)
    return net


def learned() -> nn.Module:
    """The first layers of MobileNetV2, whose batch norm has seen images."""
    torch.manual_seed(0)
    net = models.mobilenet_v2(num_classes=3).features[:5]
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
    net(images())
    return net.eval()


def images(seed=0, count=64):
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 + 1


@torch.no_grad()
def test_the_network_computes_the_same_and_starts_training_from_there():
    before = learned()
    net = folded(before)
    assert not is_folded(before)
    assert is_folded(net)
    expected = before(images(1))
    assert torch.allclose(net(images(1)), expected, atol=1e-4)

    as_it_was = copy.deepcopy(net).train()(images())
    unfold(net, images())
    assert not is_folded(net)
    assert not net.training
    assert torch.allclose(net(images(1)), expected, atol=1e-4)
    error = (net.train()(images()) - before(images())).abs().mean()
    assert error < 0.02 * (as_it_was - before(images())).abs().mean()


def test_networks_without_batch_norm_have_none_that_is_folded():
    assert not is_folded(models.alexnet(num_classes=3).features)


def test_new_batch_norm_is_taken_for_folded_by_its_values_alone():
    """Fresh layers and folded ones hold the same: :func:`is_folded` is asked only of weights that were given."""
    assert is_folded(models.mobilenet_v2(num_classes=3).features[:2])
