"""Optimisers and learning-rate schedules as values: each has the knobs that belong to it, and no others."""

import math
from dataclasses import dataclass, field
from typing import Any

from tp1.base.checks import check


def param(default: Any, help_text: str) -> Any:
    """Return a dataclass field with its default and the help text for the command line."""
    return field(default=default, metadata={"help": help_text})


LEARNING_RATE = "The optimiser's step size (with a schedule: the largest)."
WEIGHT_DECAY = "L2 penalty, added to the gradient (Muon: the weights shrink by it)."
MOMENTUM = "Nesterov's momentum, 0 <= m < 1 (sgd, muon)."
WARMUP = "Share of all steps in which the step size rises from 0, 0 <= w < 1 (all schedules but constant)."


@dataclass(frozen=True, slots=True)
class Adam:
    """Adam (Kingma and Ba 2015), the report's optimiser (sections 1.3 and 1.5)."""

    learning_rate: float = param(1e-3, LEARNING_RATE)
    weight_decay: float = param(0.0, WEIGHT_DECAY)

    def __post_init__(self) -> None:
        _check_optimizer(self)


@dataclass(frozen=True, slots=True)
class SGD:
    """Stochastic gradient descent with Nesterov's momentum (Sutskever et al. 2013)."""

    learning_rate: float = param(0.1, LEARNING_RATE)
    weight_decay: float = param(5e-4, WEIGHT_DECAY)
    momentum: float = param(0.9, MOMENTUM)

    def __post_init__(self) -> None:
        _check_optimizer(self)


@dataclass(frozen=True, slots=True)
class Muon:
    """Muon (Jordan et al. 2024) for matrices and filters; Adam for all other parameters and for the last layer."""

    learning_rate: float = param(0.02, LEARNING_RATE)
    weight_decay: float = param(0.0, WEIGHT_DECAY)
    momentum: float = param(0.95, MOMENTUM)
    adam_rate: float = param(3e-3, "Adam's step size, for what Muon does not train (muon).")

    def __post_init__(self) -> None:
        _check_optimizer(self)
        check("adam_rate", self.adam_rate, self.adam_rate > 0, "a number above 0")


@dataclass(frozen=True, slots=True)
class Constant:
    """The step size of the report: always the same."""


@dataclass(frozen=True, slots=True)
class Linear:
    """The step size falls to zero in a straight line (Defazio et al. 2023)."""

    warmup: float = param(0.0, WARMUP)

    def __post_init__(self) -> None:
        _check_warmup(self.warmup)


@dataclass(frozen=True, slots=True)
class Cosine:
    """The step size falls to zero along half a cosine (Loshchilov and Hutter 2017)."""

    warmup: float = param(0.0, WARMUP)

    def __post_init__(self) -> None:
        _check_warmup(self.warmup)


@dataclass(frozen=True, slots=True)
class OneCycle:
    """The step size rises in a straight line, then falls in one (Smith and Topin 2018, without its last phase)."""

    warmup: float = param(0.25, WARMUP)

    def __post_init__(self) -> None:
        _check_warmup(self.warmup)


Optimizer = Adam | SGD | Muon
Schedule = Constant | Linear | Cosine | OneCycle
OPTIMIZERS: dict[str, type] = {"adam": Adam, "sgd": SGD, "muon": Muon}
SCHEDULES: dict[str, type] = {"constant": Constant, "linear": Linear, "cosine": Cosine, "one-cycle": OneCycle}


def step_size(schedule: Schedule, step: int, steps: int) -> float:
    """The share of the learning rate in a step: 0 < share <= 1.

    Args:
        step: Number of the step in the whole training, from 0.
        steps: Number of steps in the whole training.
    """
    if isinstance(schedule, Constant):
        return 1.0
    rising = schedule.warmup * steps
    if step + 1 <= rising:
        return (step + 1) / (rising + 1)
    done = max(step - rising, 0) / max(steps - rising, 1)
    if isinstance(schedule, Cosine):
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1 - done


def _check_optimizer(optimizer: Optimizer) -> None:
    check("learning_rate", optimizer.learning_rate, optimizer.learning_rate > 0, "a number above 0")
    check("weight_decay", optimizer.weight_decay, optimizer.weight_decay >= 0, "a number, 0 or more")
    if not isinstance(optimizer, Adam):
        check("momentum", optimizer.momentum, 0 <= optimizer.momentum < 1, "a number from 0 up to, but not, 1")


def _check_warmup(warmup: float) -> None:
    check("warmup", warmup, 0 <= warmup < 1, "a number from 0 up to, but not, 1")
