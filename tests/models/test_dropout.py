"""The platform's own dropout drops elements as torch's does, by the seed."""

import pytest
import torch
from torch import nn

from tp1.models.dropout import Dropout


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_elements_are_dropped_at_the_rate_and_the_rest_scaled(p, memory_format):
    values = torch.full((64, 16, 9, 9), 3.0).to(memory_format=memory_format)
    result = Dropout(p)(values)
    assert result.shape == values.shape
    assert result.stride() == values.stride()
    assert (result == 0).float().mean().item() == pytest.approx(p, abs=0.01)
    assert result[result != 0].unique().tolist() == pytest.approx([3 / (1 - p)])


def test_neighbours_are_dropped_independently():
    """Four elements share one drawn number: its four parts must not be alike."""
    dropped = (Dropout(0.5)(torch.ones(400_000)) == 0).float().view(-1, 4)
    correlations = torch.corrcoef(dropped.T) - torch.eye(4)
    assert correlations.abs().max() < 0.015


@pytest.mark.parametrize("shape", [(1,), (3,), (5, 7), (2, 3, 4, 5), (4, 6)])
def test_any_shape(shape):
    assert Dropout(0.3)(torch.ones(shape)).shape == shape


def test_a_transposed_view_is_served_in_its_own_order():
    values = torch.arange(1.0, 13.0).view(3, 4).T
    result = Dropout(0.5)(values)
    assert ((result == 0) | (result == 2 * values)).all()


def test_the_gradient_is_the_mask():
    values = torch.ones(1000, requires_grad=True)
    result = Dropout(0.4)(values)
    result.sum().backward()
    assert torch.equal(values.grad, result.detach())


def test_the_seed_decides_and_evaluation_changes_nothing():
    values = torch.randn(100)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(Dropout(0.5)(values))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert Dropout(0.5).eval()(values) is values


def test_it_is_torchs_to_everyone_else():
    assert isinstance(Dropout(0.2), nn.Dropout)
    with pytest.raises(ValueError, match="dropout probability"):
        Dropout(1.5)
