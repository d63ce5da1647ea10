"""The quick 3x3 convolution gives what torch's own gives, and so do its gradients."""

import pytest
import torch
import torch.nn.functional as F

from tp1.models.convolution import Conv3x3, _DenseOn2x2


def results(conv, plain, side, autocast=False, dtype=torch.float32):
    """Output, and gradients of maps and filters, of the convolution or of torch's own with its filters."""
    generator = torch.Generator().manual_seed(3)
    maps = torch.randn(5, 6, side, side, generator=generator, dtype=dtype).to(memory_format=torch.channels_last)
    maps.requires_grad_()
    conv.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = F.conv2d(maps, conv.weight, padding=1) if plain else conv(maps)
    out.backward(torch.randn(out.shape, generator=generator, dtype=dtype).to(out.dtype))
    return out.detach(), maps.grad, conv.weight.grad


@pytest.mark.parametrize("side", [1, 2, 3])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_it_equals_torchs_convolution(side, layout):
    torch.manual_seed(0)
    conv = Conv3x3(6, 7).double().to(memory_format=layout).train()
    ours = results(conv, False, side, dtype=torch.float64)
    torch.testing.assert_close(ours, results(conv, True, side, dtype=torch.float64))
    assert torch.autograd.gradcheck(conv, torch.randn(2, 6, side, side, dtype=torch.float64, requires_grad=True))


def test_it_equals_torchs_convolution_in_bfloat16():
    torch.manual_seed(0)
    conv = Conv3x3(6, 7).to(memory_format=torch.channels_last).train()
    ours, plain = (results(conv, which, 2, autocast=True) for which in (False, True))
    assert [one.dtype for one in ours] == [one.dtype for one in plain]
    torch.testing.assert_close(ours, plain, rtol=0.02, atol=0.05)


def test_the_dense_layer_is_for_training_on_2x2_maps(monkeypatch):
    used = []
    monkeypatch.setattr(_DenseOn2x2, "apply", lambda maps, filters: used.append(maps.shape) or maps)
    conv = Conv3x3(4, 4).train()
    conv(torch.zeros(1, 4, 4, 4))
    conv(torch.zeros(1, 4, 2, 3))
    conv.eval()(torch.zeros(1, 4, 2, 2))
    assert used == []
    conv.train()(torch.zeros(1, 4, 2, 2))
    assert used == [(1, 4, 2, 2)]
