"""What a sweep searches: parameters, each with a range or with values to choose from, in one line of text."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from tp1.base.errors import TP1Error
from tp1.config import GROUPS, HYPERPARAMETERS, PARAMETERS, TrainConfig
from tp1.experiment import Experiment

EXAMPLE = "learning_rate=log:1e-4..1e-2,dropout=0.1..0.6,batch_size=32|64|128"
# How it can be searched (tp1.sweeps.proposals); here, because the command line shows it without importing Optuna.
SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("hyperband", "median", "none")
TRIALS, MOST_TRIALS = 30, 10_000  # by default, and at most
# Parameters of a configuration that are not to be chosen by validation accuracy, and why.
REFUSED = {
    "dataset": "accuracies on other images cannot be compared",
    "epochs": "a trial with more of them nearly always wins, and trials are stopped early at equal epochs",
    "tta": "it changes test figures alone, and a sweep chooses by validation accuracy",
    "seed": "the best of several seeds is luck; the printed command repeats the best trial with several",
}

Value = int | float | str


@dataclass(frozen=True)
class Dimension:
    """One searched parameter.

    Attributes:
        values: To choose from, sorted; empty for a range.
        low, high: Ends of a range, both included: whole numbers for a whole-number parameter.
        log: Whether the range is searched on a logarithmic scale.
    """

    name: str
    values: tuple[Value, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the parameter is a whole number."""
        return PARAMETERS[self.name].kind is int

    @property
    def ends(self) -> tuple[Value, ...]:
        """The values that show whether all are valid: both ends of a range, or every value."""
        return self.values or (self.low, self.high)

    @property
    def points(self) -> tuple[Value, ...] | range | None:
        """All values; None if there are infinitely many."""
        if self.values:
            return self.values
        return range(int(self.low), int(self.high) + 1) if self.is_whole else None

    def place(self, value: Value) -> float:
        """Return where a value is in the dimension: from 0, the first, to 1, the last."""
        if self.values:
            return self.values.index(value) / (len(self.values) - 1)
        if self.log:
            return math.log(float(value) / self.low) / math.log(self.high / self.low)
        return (float(value) - self.low) / (self.high - self.low)

    def read(self, text: str) -> Value:
        """Return a tracked value of the parameter.

        Raises:
            ValueError: It is none of this space.
        """
        value = _value(self.name, text)
        inside = value in self.values if self.values else self.low <= float(value) <= self.high
        if not inside:
            raise ValueError(text)
        return value

    def __str__(self) -> str:
        if self.values:
            return f"{self.name}={'|'.join(map(str, self.values))}"
        return f"{self.name}={'log:' * self.log}{self.low}..{self.high}"


@dataclass(frozen=True)
class Space:
    """The searched parameters, in the order of the configuration's.

    Its text is the same for every spelling: it identifies what is searched.
    """

    dimensions: tuple[Dimension, ...]

    @property
    def names(self) -> list[str]:
        """The names of the searched parameters."""
        return [one.name for one in self.dimensions]

    @property
    def size(self) -> int | None:
        """The number of points; None if there are infinitely many."""
        counts = [None if one.points is None else len(one.points) for one in self.dimensions]
        return None if None in counts else math.prod(count for count in counts if count is not None)

    def point(self, number: int) -> dict[str, Value]:
        """Return a point of a finite space by its number, from 0; the last parameter changes fastest."""
        found: dict[str, Value] = {}
        for one in reversed(self.dimensions):
            assert one.points is not None
            number, place = divmod(number, len(one.points))
            found[one.name] = one.points[place]
        return {name: found[name] for name in self.names}

    def corners(self) -> Iterator[dict[str, Value]]:
        """Yield points that show whether all are valid: every end of every dimension with every variant of a group."""
        groups = [one for one in self.dimensions if one.name in GROUPS]
        first = {one.name: one.ends[0] for one in self.dimensions}
        for variants in itertools.product(*(one.values for one in groups)):
            chosen = first | dict(zip((one.name for one in groups), variants, strict=True))
            yield chosen
            for one in self.dimensions:
                if one.name not in GROUPS:
                    yield from (chosen | {one.name: value} for value in one.ends[1:])

    def __str__(self) -> str:
        return ",".join(map(str, self.dimensions))


def parse_space(text: str, experiment: Experiment, fixed: Mapping[str, Any]) -> tuple[Space, list[TrainConfig]]:
    """Read a space, such as :data:`EXAMPLE`, and check it.

    A parameter's range is ``low..high``, or ``log:low..high`` on a logarithmic scale; values to choose from are
    separated by ``|``.

    Args:
        fixed: The parameters that have one other value than the experiment's, in all trials.

    Returns:
        The space, and the configurations at its corners.

    Raises:
        TP1Error: Something is wrong with it; one line names it.
    """
    found: dict[str, Dimension] = {}
    if not text.strip():
        raise TP1Error(f"space is empty: give what to search, such as {EXAMPLE}.")
    for part in text.split(","):
        name, equals, given = (piece.strip() for piece in part.partition("="))
        name = name.replace("-", "_")
        if not equals:
            raise TP1Error(f"space: {part.strip()!r} is no NAME=RANGE; write as in {EXAMPLE}.")
        _check_name(name, found, fixed)
        found[name] = _dimension(name, given)
    space = Space(tuple(found[name] for name in PARAMETERS if name in found))
    try:
        return space, [experiment.config.changed(**fixed, **corner) for corner in space.corners()]
    except TP1Error as error:
        raise TP1Error(f"space: {error}") from error


def _check_name(name: str, found: Mapping[str, Dimension], fixed: Mapping[str, Any]) -> None:
    if name not in PARAMETERS:
        close = get_close_matches(name, HYPERPARAMETERS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(searchable())}."
        raise TP1Error(f"space: there is no parameter {name!r}: {hint}")
    if name not in searchable():
        reason = REFUSED.get(name, "it does not belong to what is trained")
        raise TP1Error(f"space: {name} cannot be searched: {reason}.")
    if name in found:
        raise TP1Error(f"space: {name} is given twice.")
    if name in fixed:
        raise TP1Error(f"{name}={fixed[name]} is fixed, and also in the space: give one of the two.")


def searchable() -> list[str]:
    """The names of the parameters that a sweep can search."""
    return [name for name in HYPERPARAMETERS if name not in REFUSED]


def _dimension(name: str, given: str) -> Dimension:
    is_log = given.startswith("log:")
    text = given.removeprefix("log:")
    low, dots, high = text.partition("..")
    is_number = PARAMETERS[name].kind is not str
    if is_number and dots:
        return _range(name, low, high, is_log, given)
    if is_log:
        raise TP1Error(f"space: {name}={given}: log: stands before a range of numbers, as in log:1e-4..1e-2.")
    values = [_read(name, value, given) for value in text.split("|")]
    if len(set(values)) < len(values):
        raise TP1Error(f"space: {name}={given} has a value twice.")
    if len(values) == 1:
        ways = "low..high or a|b|c" if is_number else "a|b|c"
        raise TP1Error(f"space: {name}={given} is one value: search {ways}, or give it outside the space.")
    return Dimension(name, values=tuple(sorted(values)))


def _range(name: str, low: str, high: str, is_log: bool, given: str) -> Dimension:
    first, last = (_read(name, end, given) for end in (low, high))
    assert not isinstance(first, str)
    assert not isinstance(last, str)
    if any(isinstance(end, float) and not math.isfinite(end) for end in (first, last)) or first >= last:
        raise TP1Error(f"space: {name}={given}: the first number must be below the last.")
    if is_log and first <= 0:
        raise TP1Error(f"space: {name}={given}: a logarithmic range starts above 0.")
    return Dimension(name, low=first, high=last, log=is_log)


def _read(name: str, text: str, given: str) -> Value:
    try:
        return _value(name, text)
    except ValueError as error:
        kind = {int: "whole numbers", float: "numbers"}.get(PARAMETERS[name].kind, "values")
        raise TP1Error(f"space: {name}={given}: {text.strip()!r} is not among the {kind} that {name} takes.") from error


def _value(name: str, text: str) -> Value:
    kind = PARAMETERS[name].kind
    if kind is int:
        return int(text)
    if kind is float:
        return float(text)
    if not text.strip():
        raise ValueError(text)
    return text.strip()
