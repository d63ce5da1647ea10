"""A run as its tracking store has it, and how runs are asked for."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from tp1.base.names import printable, whole_number

REFERENCE_TAG = "tp1.reference"  # on a run that was loaded from a record: the id of the run it was made from
MACHINE_TAG = "tp1.machine"  # the name of the machine that a run runs on
MIGRATED_TAG = "tp1.migrated_from"  # on what came from another store: the id that it has there
MODEL_TAG = "tp1.model"  # the network's name; only training runs have it
CURVES = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")  # by epoch

# All that is read of a run's metrics, and of its tags. A finished run that lacks one of the metrics is not whole.
READ_METRICS = (
    *(*CURVES, "train/images_per_second"),
    *("best/epoch", "best/val_accuracy", "best/val_loss"),
    *("test/accuracy", "test/loss", "test/precision_macro", "test/recall_macro", "test/f1_macro"),
)
READ_TAGS = (
    *("tp1.experiment", "tp1.configuration", "tp1.dataset", "tp1.seed", "tp1.data_digest", "tp1.split_digest"),
    *("tp1.remark", REFERENCE_TAG, MIGRATED_TAG, MACHINE_TAG, "mlflow.source.name"),
)

MetricValue = tuple[str, str, float]  # run id, metric, value


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """A run in a tracking store, without its histories and files.

    Attributes:
        mlflow_experiment: The id of the MLflow experiment that holds it.
        status: ``RUNNING``, ``FINISHED``, ``FAILED``, ``KILLED`` or ``SCHEDULED``.
        start_time, end_time: Milliseconds since 1970, UTC; an end of 0 where it has not ended.
        tags: Those of :data:`READ_TAGS` that it has.
        params: The parameters, as tracked.
        metrics: The last value of each of :data:`READ_METRICS` that it has.
        train_images: Images in an epoch; 0 where that is not tracked.
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

    @property
    def experiment(self) -> str:
        """The entry point, such as ``cnnv3``."""
        return printable(self.tags.get("tp1.experiment", ""))

    @property
    def configuration(self) -> str:
        """Such as ``c2``, or empty."""
        return printable(self.tags.get("tp1.configuration", ""))

    @property
    def dataset(self) -> str:
        """The data set's name."""
        return printable(self.tags.get("tp1.dataset", ""))

    @property
    def seed(self) -> int:
        """The seed, or -1 where that is not tracked."""
        seed = whole_number(self.tags.get("tp1.seed", ""))
        return -1 if seed is None else seed

    @property
    def data_digest(self) -> str:
        """Of the data set's files."""
        return self.tags.get("tp1.data_digest", "")

    @property
    def split_digest(self) -> str:
        """Of the names in each part of the split."""
        return self.tags.get("tp1.split_digest", "")

    @property
    def machine(self) -> str:
        """The name of the machine that it runs on; empty where that is not tracked."""
        return self.tags.get(MACHINE_TAG, "")

    @property
    def record(self) -> str:
        """The folder of the record that it was loaded from; empty where it ran here."""
        return self.tags.get("mlflow.source.name", "") if REFERENCE_TAG in self.tags else ""

    @property
    def original(self) -> str:
        """The id of the run that its record was made from, or that was migrated; else its own."""
        return self.tags.get(REFERENCE_TAG) or self.tags.get(MIGRATED_TAG, self.run_id)

    @property
    def remark(self) -> str:
        """What somebody wrote down about the run, for the report."""
        return printable(" ".join(self.tags.get("tp1.remark", "").split()))

    @property
    def seconds(self) -> float:
        """From its start to its end."""
        return (self.end_time - self.start_time) / 1000

    @property
    def missing(self) -> list[str]:
        """What a comparison needs of a finished run and this one lacks."""
        return [name for name in READ_METRICS if name not in self.metrics] + ["tp1.seed"] * (self.seed < 0)


@dataclass(frozen=True)
class RunQuery:
    """Which runs to find: those that meet all that is given. Deleted runs are never found.

    Attributes:
        status: Such as ``FINISHED``.
        has: A tag that they have, whatever its value.
        tags: Tags, and the values that they have.
        since: They started then or later; milliseconds since 1970, UTC.
        run_ids: They are among these.
    """

    status: str | None = None
    has: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    since: int | None = None
    run_ids: Sequence[str] | None = None


class RunSource(Protocol):
    """A kind of tracking store that runs can be read from."""

    def find(self, query: RunQuery) -> Iterator[TrackedRun]:
        """The runs that a query asks for, from all MLflow experiments, newest first, each once."""

    def histories(self, run_ids: Sequence[str], metrics: Sequence[str]) -> Iterator[MetricValue]:
        """Every logged value of these metrics of these runs; those of a metric of a run by step."""


def readable(name: str | None, params: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """A run's name and parameters as lines that can be shown: anybody may have logged any characters."""
    return printable(name or ""), {key: printable(value) for key, value in params.items()}


@lru_cache(maxsize=256)
def images_of(profile: str | None) -> int:
    """The number of images in the profile of an MLflow data set of arrays; 0 where it does not say."""
    try:
        return int(json.loads(profile or "")["features_shape"][0])
    except (ValueError, KeyError, TypeError, IndexError, OverflowError):
        return 0
