"""The platform's own networks have the layers and parameters that the report gives them."""

import re

import pytest
import torch
from torch import nn

from tp1.base.errors import TP1Error
from tp1.models.cnn import CNNV2, CNNV3, CNNBase


@pytest.mark.parametrize("model", [CNNBase, CNNV2, CNNV3])
def test_the_docstring_counts_the_parameters(model):
    counted = sum(parameter.numel() for parameter in model(10).parameters())
    assert f"{counted:,} parameters" in model.__doc__


@pytest.mark.parametrize("model", [CNNBase, CNNV2, CNNV3])
@pytest.mark.parametrize("image_size", [32, 48, 64])
def test_logits_have_a_column_per_class(model, image_size):
    net = model(7, image_size).eval()
    assert net(torch.zeros(3, 3, image_size, image_size)).shape == (3, 7)


@pytest.mark.parametrize(("model", "smallest"), [(CNNBase, 18), (CNNV2, 16), (CNNV3, 32)])
def test_an_image_that_pooling_would_swallow_is_an_error(model, smallest):
    assert model(10, smallest).eval()(torch.zeros(1, 3, smallest, smallest)).shape == (1, 10)
    with pytest.raises(TP1Error, match=rf"too small for {model.__name__}.*{smallest} or more"):
        model(10, smallest - 1)


@pytest.mark.parametrize(
    ("dropout", "rates"), [(0.5, [0.2, 0.3, 0.4, 0.5]), (0.3, [0.2, 0.2333, 0.2667, 0.3]), (0.1, [0.1] * 4)]
)
def test_cnnv3_dropout_rises_to_the_given_rate(dropout, rates):
    found = [module.p for module in CNNV3(10, 32, dropout).modules() if isinstance(module, nn.Dropout)]
    assert found == pytest.approx(rates, abs=1e-4)


def test_pooling_before_relu_changes_nothing():
    values = torch.randn(4, 8, 16, 16)
    pool, relu = nn.MaxPool2d(2), nn.ReLU()
    assert torch.equal(relu(pool(values)), pool(relu(values)))


@pytest.mark.parametrize(
    ("model", "filters"), [(CNNBase, "8, 32, 16"), (CNNV2, "16, 32, 64, 128"), (CNNV3, "32, 64, 128, 256, 512")]
)
def test_filters_are_the_reports(model, filters):
    found = [module.out_channels for module in model(10).modules() if isinstance(module, nn.Conv2d)]
    assert found == [int(number) for number in re.findall(r"\d+", filters)]
