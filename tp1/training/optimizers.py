"""From an optimiser's configuration to torch's optimisers."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from tp1.base.errors import TP1Error
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

    torch's Muon takes matrices alone, and makes their steps orthogonal in bfloat16, which takes up to twenty times
    as long as float32 where the processor only emulates it. Here it trains matrices that share their memory with
    the filters, and computes in the type given; in bfloat16 the steps are torch's own.

    Args:
        filters: Parameters (out, in, h, w), or matrices.
        lr, weight_decay, momentum: As in :class:`torch.optim.Muon`.
        dtype: What the steps are made orthogonal in.
    """

    def __init__(
        self,
        filters: list[nn.Parameter],
        lr: float,
        weight_decay: float,
        momentum: float,
        dtype: torch.dtype,
    ) -> None:
        self.filters = filters
        self.dtype = dtype
        matrices = [_as_matrix(one.detach()) for one in filters]
        super().__init__(matrices, lr=lr, weight_decay=weight_decay, momentum=momentum)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Change the filters by their gradients."""
        (group,) = self.param_groups
        rate, momentum = group["lr"], group["momentum"]
        for matrix, one in zip(group["params"], self.filters, strict=True):
            if one.grad is None:
                continue
            gradient = _as_matrix(one.grad.contiguous(memory_format=_layout(one)))
            state = self.state[matrix]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(gradient)
            average = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
            step = orthogonal(gradient.lerp(average, momentum).to(self.dtype), group["ns_coefficients"])
            matrix.mul_(1 - rate * group["weight_decay"])
            matrix.add_(step, alpha=-rate * math.sqrt(max(1, len(matrix) / matrix.shape[1])))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for one in self.filters:
            one.grad = None


def orthogonal(matrix: torch.Tensor, coefficients: tuple[float, float, float]) -> torch.Tensor:
    """Bring a matrix's singular values near 1 by five steps of Muon's Newton-Schulz iteration (Jordan et al. 2024).

    Args:
        matrix: (rows, columns). It is computed with in its own type.
        coefficients: Of the iteration's first, third and fifth power.

    Returns:
        A new matrix of the same shape and type, with singular values of roughly 0.7 to 1.2.
    """
    a, b, c = coefficients
    wide = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if len(matrix) <= matrix.shape[1] else wide.T


def make_optimizers(optimizer: Optimizer, model: nn.Module, precision: str) -> Optimizers:
    """Make the optimisers of a model's parameters that are trained; the model is on its device, in its layout.

    Args:
        optimizer: Which, and its step sizes.
        model: What is trained.
        precision: ``fp32`` or ``bf16``: what Muon makes its steps orthogonal in.

    Raises:
        TP1Error: There is nothing that Muon would train.
    """
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
    if not matrices:
        raise TP1Error("optimizer=muon: one layer alone is trained, which Muon leaves to Adam: give optimizer=adam.")
    chosen = set(map(id, matrices))
    others = [parameter for parameter in trained if id(parameter) not in chosen]
    adam = torch.optim.Adam(others, lr=optimizer.adam_rate, fused=True)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return Optimizers(FilterMuon(matrices, rate, decay, optimizer.momentum, dtype), adam)


def _layout(tensor: torch.Tensor) -> torch.memory_format:
    last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _as_matrix(tensor: torch.Tensor) -> torch.Tensor:
    """A view (out, in * h * w) of the same memory; in channels-last memory, the columns are in the order h, w, in."""
    if _layout(tensor) is torch.channels_last:
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.view(len(tensor), -1)
