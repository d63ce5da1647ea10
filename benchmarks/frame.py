"""What all measurements share: ways that take turns in one process, and the tables that come out."""

import random
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from statistics import median

import torch
from mlflow import MlflowClient

from tp1.training.devices import choose_device, describe

PACKAGES = ("torch", "torchvision", "mlflow", "lightning")


def every_experiment(client: MlflowClient) -> list[str]:
    """The ids of all MLflow experiments of a store."""
    return [experiment.experiment_id for experiment in client.search_experiments()]


@dataclass(frozen=True)
class Row:
    """One way of doing something.

    Attributes:
        values: One for each round.
        ratios: To the first row of the table, of the same round; empty for the first row itself.
    """

    name: str
    values: Sequence[float]
    ratios: Sequence[float] = ()


@dataclass(frozen=True)
class Table:
    """Ways of doing the same.

    Attributes:
        unit: Of the values, such as ``s``.
        about: What was measured, in sentences.
        rows: The first is what the others are compared with.
    """

    title: str
    unit: str
    about: str
    rows: Sequence[Row] = field(default_factory=list)

    def markdown(self) -> str:
        """The table, with medians and spreads."""
        lines = [f"## {self.title}", "", self.about, "", f"| | {self.unit}, median | spread | ratio | spread |"]
        lines.append("|---|---|---|---|---|")
        for row in self.rows:
            ratio = [f"{median(row.ratios):.3f}", _spread(row.ratios)] if row.ratios else ["1", ""]
            lines.append(f"| {' | '.join([row.name, f'{median(row.values):.4g}', _spread(row.values), *ratio])} |")
        return "\n".join([*lines, ""])


def take_turns(ways: Mapping[str, Callable[[], float | None]], rounds: int) -> list[Row]:
    """Do each way once a round, after a round that warms up; the others are compared with the first.

    Their order is drawn anew in each round, because what ran before leaves its caches and memory behind.

    Args:
        ways: Each returns its seconds; or None, and is timed from outside.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    generator = random.Random(0)
    for number in range(rounds + 1):
        for name, work in generator.sample(list(ways.items()), len(ways)):
            began = time.perf_counter()
            seconds = work()
            if number:
                times[name].append(time.perf_counter() - began if seconds is None else seconds)
    first, *others = times
    rows = [Row(first, times[first])]
    for name in others:
        rows.append(Row(name, times[name], [a / b for a, b in zip(times[name], times[first], strict=True)]))
    return rows


def wait_for(device: torch.device) -> None:
    """Wait until the device has done what it was given, before a clock is read; the CPU has."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def surroundings() -> str:
    """What was measured with: processor or GPU, threads, versions, date and commit."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    dirty = subprocess.run(["git", "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False)
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES if find_spec(name))  # a part may need no peer
    changed = " with uncommitted changes" if dirty.stdout.strip() else ""
    return (
        f"{describe(choose_device('auto'))}, {packages}; "
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit.stdout.strip() or 'unknown'}{changed}."
    )


def _spread(values: Sequence[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g}"
