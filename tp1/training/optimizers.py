"""From an optimiser's configuration to torch's optimisers."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from tp1.recipe import SGD, Adam, Optimizer


class Optimizers:
    """One or several of torch's optimisers, each for some of a model's parameters, that step together.

    Attributes:
        parts: The optimisers.
    """

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        self._initial = [[group["lr"] for group in part.param_groups] for part in parts]

    def tensors(self) -> Iterator[tuple[torch.Tensor, dict[str, Any]]]:
        """Each tensor that is trained, and the optimiser's state of it, which may be empty before the first step."""
        for part in self.parts:
            for group in part.param_groups:
                for tensor in group["params"]:
                    yield tensor, part.state[tensor]

    def scale(self, share: float) -> None:
        """Set the step sizes to a share of those that the optimisers were made with."""
        for part, initial in zip(self.parts, self._initial, strict=True):
            for group, rate in zip(part.param_groups, initial, strict=True):
                group["lr"] = rate * share

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad()

    def step(self) -> None:
        """Change the parameters by their gradients."""
        for part in self.parts:
            part.step()


class FilterMuon(torch.optim.Muon):
    """Muon (Jordan et al. 2024) for convolutions too: a filter bank is a matrix with one row per filter.

    torch's Muon takes matrices alone. Here it trains matrices that share their memory with the filters.

    Args:
        filters: Parameters (out, in, h, w), or matrices.
        lr, weight_decay, momentum: As in :class:`torch.optim.Muon`.
    """

    def __init__(self, filters: list[nn.Parameter], lr: float, weight_decay: float, momentum: float) -> None:
        self.filters = filters
        matrices = [_as_matrix(one.detach()) for one in filters]
        super().__init__(matrices, lr=lr, weight_decay=weight_decay, momentum=momentum)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Change the filters by their gradients."""
        for matrix, one in zip(self.param_groups[0]["params"], self.filters, strict=True):
            matrix.grad = None if one.grad is None else _as_matrix(one.grad.contiguous(memory_format=_layout(one)))
        super().step(closure)  # type: ignore[no-untyped-call]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for one in self.filters:
            one.grad = None


def make_optimizers(optimizer: Optimizer, model: nn.Module) -> Optimizers:
    """Make the optimisers of a model's parameters that are trained; the model is on its device, in its layout."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rate, decay = optimizer.learning_rate, optimizer.weight_decay
    if isinstance(optimizer, Adam):
        return Optimizers(torch.optim.Adam(trained, lr=rate, weight_decay=decay, fused=True))
    if isinstance(optimizer, SGD):
        return Optimizers(
            torch.optim.SGD(
                trained,
                lr=rate,
                weight_decay=decay,
                momentum=optimizer.momentum,
                nesterov=optimizer.momentum > 0,
                fused=True,
            )
        )
    # The last layer's rows are classes: Muon's authors leave it, and what is no matrix, to Adam.
    matrices = [parameter for parameter in trained if parameter.dim() >= 2][:-1]
    chosen = set(map(id, matrices))
    others = [parameter for parameter in trained if id(parameter) not in chosen]
    adam = torch.optim.Adam(others, lr=optimizer.adam_rate, fused=True)
    return Optimizers(*([FilterMuon(matrices, rate, decay, optimizer.momentum)] if matrices else []), adam)


def _layout(tensor: torch.Tensor) -> torch.memory_format:
    last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _as_matrix(tensor: torch.Tensor) -> torch.Tensor:
    """A view (out, in * h * w) of the same memory; in channels-last memory, the columns are in the order h, w, in."""
    if _layout(tensor) is torch.channels_last:
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.view(len(tensor), -1)
