"""Weights whose batch norm was folded: training starts from what they have learned."""

import copy

import pytest
import torch
from torch import nn
from torchvision import models

from tests.support.catalog import catalog
from tp1.experiment import Transfer, experiments_of
from tp1.models.folded import fold, is_folded, unfold
from tp1.models.networks import SMALLEST


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


NETWORKS = {
    experiment.model_name: experiment.model
    for entry in catalog()
    for experiment in experiments_of(entry)
    if not isinstance(experiment.model, Transfer)
}


@torch.no_grad()
@pytest.mark.parametrize("name", NETWORKS)
def test_a_folded_network_computes_the_same(name):
    side = max(SMALLEST.get(name, 32), 32)
    net = with_statistics(NETWORKS[name](3, side, 0.5))
    before, seen = copy.deepcopy(net.state_dict()), torch.randn(4, 3, side, side)
    faster = fold(net)
    assert torch.allclose(faster(seen), net(seen), rtol=1e-3, atol=1e-4)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    # Ours have none left, but for airnet's, of which one of two follows a pooling.
    assert count(faster) == (count(net) // 2 if name == "airnet" else 0)


class Shared(nn.Module):
    """One convolution with two batch norms, a sum in between, and statistics of each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.one, self.two, self.three = nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.last, self.now = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)
        self.scale = nn.Parameter(torch.tensor([0.5]))

    def forward(self, maps):
        first = self.one(self.conv(maps)) + self.two(self.conv(maps))
        last = self.last(first * self.scale)
        return (last + self.three(last) + self.now(last)).flatten(1)


@torch.no_grad()
def test_what_cannot_be_folded_stays():
    net = with_statistics(Shared())
    faster, seen = fold(net), torch.randn(4, 3, 8, 8)
    assert torch.allclose(faster(seen), net(seen), atol=1e-5)
    assert count(faster) == 4


def test_a_network_that_cannot_be_traced_is_served_as_it_is():
    class Choosing(nn.Sequential):
        def forward(self, maps):
            return super().forward(maps if maps.sum() > 0 else -maps)

    net = Choosing(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)).eval()
    assert fold(net) is net
    with pytest.raises(ValueError, match="training mode"):
        fold(net.train())


def with_statistics(net: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
            if layer.running_mean is not None:
                nn.init.uniform_(layer.running_mean, -0.5, 0.5)
                nn.init.uniform_(layer.running_var, 0.5, 2)
    return net.eval()


def count(net: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in net.modules())


class Standardised(nn.Conv2d):
    """A convolution whose weights are standardised whenever it computes."""

    def forward(self, maps):
        return self._conv_forward(maps, self.weight / self.weight.std(), self.bias)


class Activated(nn.BatchNorm2d):
    """Batch norm with its activation."""

    def forward(self, maps):
        return super().forward(maps).relu()


def normalised(convolution: nn.Module, norm: nn.Module) -> nn.Module:
    """The two, where batch norm has seen images."""
    net = nn.Sequential(convolution, norm)
    net(torch.randn(16, 3, 8, 8) * 3 + 1)
    return net.eval()


@pytest.mark.parametrize(
    ("convolution", "norm", "is_kept"),
    [
        (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), False),
        (Standardised(3, 4, 3), nn.BatchNorm2d(4), True),
        (nn.Conv2d(3, 4, 3), Activated(4), True),
        (nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4), True),
        (nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4), True),
        (nn.utils.spectral_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4), True),
    ],
)
@torch.no_grad()
def test_only_what_is_known_is_folded(convolution, norm, is_kept):
    """A layer of somebody's own may compute anything; of these the answers were wrong, or it failed after training."""
    net = normalised(convolution, norm)
    found, seen = fold(net), torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(found(seen), net(seen))
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in found.modules()) == is_kept
