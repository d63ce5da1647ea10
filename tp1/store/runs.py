"""Tracked runs: a run as its tracking store has it, and the queries that find runs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from tp1.base.names import printable, whole_number

REFERENCE_TAG = "tp1.reference"  # on a run loaded from a record: the id of the original run
PARENT_TAG = "mlflow.parentRunId"  # MLflow's own
MACHINE_TAG = "tp1.machine"  # the host name of the machine that runs it
MIGRATED_TAG = "tp1.migrated_from"  # on a copy from another store: its id there
MODEL_TAG = "tp1.model"  # the network's name; only training runs have it
SWEEP_TAG = "tp1.sweep"  # on a sweep and its trials: the digest of what is searched, on what data
TRIAL_TAG = "tp1.trial"  # on a trial: its number in its sweep, from 0
PRUNED_TAG = "tp1.pruned"  # on a trial that was stopped early, which is then KILLED for good: the epochs that it has
CURVES = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")  # logged once per epoch

# The only metrics and tags that are read of a run. A finished run that lacks one of the metrics is incomplete.
READ_METRICS = (
    *(*CURVES, "train/images_per_second"),
    *("best/epoch", "best/val_accuracy", "best/val_loss"),
    *("test/accuracy", "test/loss", "test/precision_macro", "test/recall_macro", "test/f1_macro"),
)
READ_TAGS = (
    *("tp1.experiment", "tp1.configuration", "tp1.dataset", "tp1.seed", "tp1.data_digest", "tp1.split_digest"),
    *(SWEEP_TAG, TRIAL_TAG, PRUNED_TAG),
    *("tp1.remark", REFERENCE_TAG, MIGRATED_TAG, MACHINE_TAG, "mlflow.source.name"),
)

MetricValue = tuple[str, str, float]  # run id, metric, value


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """A run in a tracking store, without its metric histories and files.

    Attributes:
        mlflow_experiment: The id of the MLflow experiment that contains it.
        status: ``RUNNING``, ``FINISHED``, ``FAILED``, ``KILLED`` or ``SCHEDULED``.
        start_time, end_time: Milliseconds since 1970, UTC; the end is 0 if the run has not ended.
        tags: Those of :data:`READ_TAGS` that it has.
        params: The parameters, as tracked.
        metrics: The last value of each of :data:`READ_METRICS` that it has.
        train_images: Training images per epoch; 0 if not tracked.
        image_side: Pixels per side of the data set's images, before the network resizes them; 0 where not tracked.
    """

    run_id: str
    mlflow_experiment: str
    name: str
    status: str
    start_time: int
    end_time: int
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    train_images: int = 0
    image_side: int = 0

    @property
    def experiment(self) -> str:
        """The entry point, such as ``cnnv3``."""
        return printable(self.tags.get("tp1.experiment", ""))

    @property
    def configuration(self) -> str:
        """The configuration of a study, such as ``c2``; empty without one."""
        return printable(self.tags.get("tp1.configuration", ""))

    @property
    def dataset(self) -> str:
        """The data set's name."""
        return printable(self.tags.get("tp1.dataset", ""))

    @property
    def seed(self) -> int:
        """The seed; -1 if not tracked."""
        seed = whole_number(self.tags.get("tp1.seed", ""))
        return -1 if seed is None else seed

    @property
    def data_digest(self) -> str:
        """The digest of the data set's files; empty if not tracked."""
        return self.tags.get("tp1.data_digest", "")

    @property
    def split_digest(self) -> str:
        """The digest of the names in each part of the split; empty if not tracked."""
        return self.tags.get("tp1.split_digest", "")

    @property
    def sweep(self) -> str:
        """The sweep that it is a trial of; empty for every other run."""
        return printable(self.tags.get(SWEEP_TAG, "")) if self.trial is not None else ""

    @property
    def trial(self) -> int | None:
        """Its number in its sweep, from 0; None if it is no trial."""
        return whole_number(self.tags.get(TRIAL_TAG, ""))

    @property
    def pruned(self) -> int | None:
        """The epochs that a trial had when it was stopped early, for good; None if it was not."""
        return whole_number(self.tags.get(PRUNED_TAG, ""))

    @property
    def machine(self) -> str:
        """The host name of the machine that runs it; empty if not tracked."""
        return self.tags.get(MACHINE_TAG, "")

    @property
    def record(self) -> str:
        """The folder of the record that it was loaded from; empty if it was not loaded from one."""
        return self.tags.get("mlflow.source.name", "") if REFERENCE_TAG in self.tags else ""

    @property
    def original(self) -> str:
        """The id of the original run if this one was loaded from a record or migrated; else its own id."""
        return self.tags.get(REFERENCE_TAG) or self.tags.get(MIGRATED_TAG, self.run_id)

    @property
    def remark(self) -> str:
        """The remark on the run, for the report (tag ``tp1.remark``), in one line."""
        return printable(" ".join(self.tags.get("tp1.remark", "").split()))

    @property
    def seconds(self) -> float:
        """Seconds from start to end."""
        return (self.end_time - self.start_time) / 1000

    @property
    def missing(self) -> list[str]:
        """The metrics, and the seed tag, that a comparison needs and this run lacks; empty for a complete run."""
        return [name for name in READ_METRICS if name not in self.metrics] + ["tp1.seed"] * (self.seed < 0)


@dataclass(frozen=True)
class RunQuery:
    """The conditions for finding runs; a run must meet all that are given. Deleted runs are never found.

    Attributes:
        status: The run's status, such as ``FINISHED``.
        has: A tag that the run has, with any value.
        tags: Tags that the run has, with these values.
        since: Earliest start, in milliseconds since 1970, UTC.
        run_ids: Ids that the run's id is among.
    """

    status: str | None = None
    has: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    since: int | None = None
    run_ids: Sequence[str] | None = None


class RunSource(Protocol):
    """A kind of tracking store that runs can be read from."""

    def find(self, query: RunQuery) -> Iterator[TrackedRun]:
        """Yield the runs that match a query, from all MLflow experiments, newest first, each once."""

    def histories(self, run_ids: Sequence[str], metrics: Sequence[str]) -> Iterator[MetricValue]:
        """Yield every logged value of these metrics of these runs; the values of one metric of one run come by step."""


def readable(name: str | None, params: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return a run's name and parameters as printable lines: a tracking store may hold any characters."""
    return printable(name or ""), {key: printable(value) for key, value in params.items()}


@lru_cache(maxsize=256)
def shape_of(profile: str | None) -> tuple[int, int]:
    """The number and the height of the images in the profile of an MLflow data set of arrays; 0 where it is silent."""
    try:
        count, side = json.loads(profile or "")["features_shape"][:2]
        return int(count), int(side)
    except (ValueError, KeyError, TypeError, IndexError, OverflowError):
        return 0, 0


def images_of(profile: str | None) -> int:
    """The number of images in the profile of an MLflow data set of arrays; 0 where it does not say."""
    return shape_of(profile)[0]
