"""A 3x3 convolution that is quick on the smallest maps."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution with padding 1 and without bias, as :class:`torch.nn.Conv2d`; trains faster on 2x2 maps.

    On a 2x2 map every output pixel sees every input pixel, and 20 of the 36 products are with padding. So it is a dense
    layer from 4 x in to 4 x out values, with 16 of them. In training on the CPU it is computed as one: the last block
    of ``cnnv3`` is the slowest otherwise, and a whole step takes 0.89 of its time (docs/LOG.md, 2026-11-26).
    """

    def __init__(self, filters_in: int, filters: int) -> None:
        super().__init__(filters_in, filters, 3, padding=1, bias=False)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(N, in, H, W) -> (N, out, H, W)."""
        if not self.training or maps.shape[-2:] != (2, 2) or maps.device.type != "cpu":
            return super().forward(maps)
        if torch.is_autocast_enabled("cpu"):
            maps = maps.to(torch.get_autocast_dtype("cpu"))
        result: torch.Tensor = _DenseOn2x2.apply(maps, self.weight)
        return result


class _DenseOn2x2(torch.autograd.Function):
    """maps (N, in, 2, 2) and filters (out, in, 3, 3) -> (N, out, 2, 2), in the type of the maps, channels last.

    Autograd's own way back through the slices of the filters costs more than the dense layer saves.
    """

    @staticmethod
    def forward(ctx: Any, maps: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
        out, into = filters.shape[:2]
        taps = filters.to(maps.dtype).permute(0, 2, 3, 1)
        # Output pixel (y, x) sees input pixel (i, j) through tap (1 - y + i, 1 - x + j).
        weight = torch.stack([taps[:, 1 - y : 3 - y, 1 - x : 3 - x] for y in (0, 1) for x in (0, 1)])
        weight = weight.view(4 * out, 4 * into)
        flat = maps.permute(0, 2, 3, 1).reshape(len(maps), 4 * into)
        ctx.save_for_backward(flat, weight)
        ctx.filters = filters.shape, filters.dtype
        return F.linear(flat, weight).view(-1, 2, 2, out).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        flat, weight = ctx.saved_tensors
        (out, into, _, _), dtype = ctx.filters
        gradient = gradient.permute(0, 2, 3, 1).reshape(len(flat), 4 * out)
        of_maps = (gradient @ weight).view(-1, 2, 2, into).permute(0, 3, 1, 2)
        of_weight = (gradient.t() @ flat).view(2, 2, out, 2, 2, into)
        of_taps = torch.zeros((out, 3, 3, into), dtype=dtype)
        for y in (0, 1):
            for x in (0, 1):
                of_taps[:, 1 - y : 3 - y, 1 - x : 3 - x] += of_weight[y, x]
        return of_maps, of_taps.permute(0, 3, 1, 2)
