"""Dropout with cheap random numbers on the CPU."""

import torch
import torch.nn.functional as F
from torch import nn

LEVELS = 2**16


class Dropout(nn.Dropout):
    """Dropout (Srivastava et al. 2014) as :class:`torch.nn.Dropout`, four to five times faster on the CPU.

    On the CPU, PyTorch draws one random number per element in sequence, which took 16 % of a training step of
    ``cnnv3``. Here 64 random bits serve four elements, so ``p`` is exact to 1/65536. Other devices draw in parallel
    and use PyTorch's dropout.
    """

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Any shape; in training each element becomes 0 with probability p and is scaled by 1 / (1 - p) otherwise."""
        if not self.training or self.p == 0:
            return values
        if values.device.type != "cpu":
            return F.dropout(values, self.p)
        drawn = torch.empty((values.numel() + 3) // 4, dtype=torch.int64).random_(torch.iinfo(torch.int64).min, None)
        # In the memory order of the values (channels last or not), so that the product below is one pass over memory.
        bits = drawn.view(torch.int16).as_strided(values.shape, torch.empty_like(values).stride())
        keep = bits >= min(round(self.p * LEVELS), LEVELS - 1) - LEVELS // 2
        return values * keep * (1 / (1 - self.p))
