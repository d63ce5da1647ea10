"""The running mean of a network's weights, which is evaluated in their place."""

from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class RunningMean(AveragedModel):
    """torch's exponential moving average of weights and buffers, with the same values and state.

    torch's own copies its count to the network's device after each step, for which an accelerator stops. An exponential
    mean does not need the count but to know the first step.

    Args:
        model: Its copy holds the mean.
        decay: Per step, 0 < decay < 1.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self._bring_on = get_ema_multi_avg_fn(decay)
        super().__init__(model, multi_avg_fn=self._bring_on, use_buffers=True)

    @torch.no_grad()
    def update_parameters(self, model: torch.nn.Module) -> None:
        """Bring the mean on by the weights of ``model``; the first ones are the mean."""
        pairs = list(zip(_tensors(self.module), _tensors(model), strict=True))
        if self.n_averaged == 0:  # on the CPU, wherever the network is
            for mean, now in pairs:
                mean.copy_(now)
        else:
            kinds: dict[Any, list[tuple[torch.Tensor, torch.Tensor]]] = {}
            for mean, now in pairs:
                kinds.setdefault((mean.device, mean.dtype), []).append((mean, now))
            for several in kinds.values():
                means, present = map(list, zip(*several, strict=True))
                self._bring_on(means, present, self.n_averaged)
        self.n_averaged += 1


def _tensors(model: torch.nn.Module) -> list[torch.Tensor]:
    return [tensor.detach() for tensor in (*model.parameters(), *model.buffers())]
