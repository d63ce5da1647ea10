"""Records: finished runs and pruned trials, complete except for their models."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from tp1.base.errors import TP1Error
from tp1.store.artifacts import read_artifact, read_optional_artifact
from tp1.store.reader import find_run
from tp1.store.runs import MACHINE_TAG, MODEL_TAG, PRUNED_TAG

# The artifacts in the record of a training run; the figures can be drawn from these.
RECORD_FILES = (
    "classification_report.csv",
    "classification_report.json",
    "classification_report.txt",
    "config.json",
    "confusion_matrix.csv",
    "environment.txt",
    "model_summary.txt",
    "predictions.parquet",
)
# Those of a trial that was stopped early.
PRUNED_FILES = ("config.json", "environment.txt", "model_summary.txt")
# Further ones that only some training runs have.
OPTIONAL_FILES = ("mistakes.parquet",)
EVALUATION_FILES = ("classification_report.txt", "classes.csv", "confusion_matrix.csv", "calibration.csv")
CORRUPTIONS_FILE, CORRUPTIONS_TAG = "corruptions.csv", "tp1.evaluated_corruptions"  # where harder images were examined
LOOK_FILES = ("samples.png", "class_distribution.csv", "channels.csv")  # the artifacts in the record of an eda run


@dataclass(frozen=True)
class RunRecord:
    """A finished run of training, ``eda`` or ``evaluate``, or a pruned trial, without its model; enough to report it.

    Attributes:
        run_id: The id of the run that the record was made from.
        start_time, end_time: Milliseconds since 1970, UTC.
        metrics: The history of each metric, by name, as (step, milliseconds since 1970, value).
        datasets: MLflow's dataset inputs, with their ``context``.
        files: Contents of the artifacts, by name.
    """

    run_id: str
    name: str
    start_time: int
    end_time: int
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, list[tuple[int, int, float]]]
    datasets: list[dict[str, Any]]
    files: dict[str, bytes]


def make_record(run_id: str, *, histories: bool = True) -> RunRecord:
    """Return the record of a finished run of training, ``eda`` or ``evaluate``, or of a pruned trial.

    Args:
        histories: Read every value of every metric, in one request for each metric; else only the last values.

    Raises:
        TP1Error: The run does not exist, is not over, is of another kind, or lacks an artifact.
    """
    run = find_run(run_id)
    tags = run.data.tags
    over = run.info.status == "FINISHED" or PRUNED_TAG in tags
    if not over or not has_record(tags):
        raise TP1Error(
            f"run {run_id} is {run.info.status} and cannot be kept: it must be a finished run of training, eda or "
            "evaluate, or a sweep."
        )
    client = MlflowClient()
    files = {name: read_artifact(client, run_id, name) for name in record_files(tags)}
    further = {name: read_optional_artifact(client, run_id, name) for name in optional_files(tags)}
    files |= {name: content for name, content in further.items() if content is not None}
    return RunRecord(
        run_id=run_id,
        name=run.info.run_name,
        start_time=run.info.start_time,
        end_time=run.info.end_time,
        params=dict(run.data.params),
        tags={
            key: value
            for key, value in tags.items()
            if (key.startswith("tp1.") and key != MACHINE_TAG) or key == "mlflow.note.content"
        },
        metrics={
            last.key: [
                (point.step, point.timestamp, point.value)
                for point in (client.get_metric_history(run_id, last.key) if histories else [last])
            ]
            for last in run.data.to_proto().metrics  # the last point of each
        },
        datasets=_datasets(run),
        files=files,
    )


def has_record(tags: Mapping[str, str]) -> bool:
    """Whether a run with these tags is one of those that records are made of."""
    return MODEL_TAG in tags or tags.get("tp1.experiment") in ("eda", "evaluate")


def record_files(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the artifacts that belong in the record of a run with these tags."""
    if PRUNED_TAG in tags:
        return PRUNED_FILES
    if MODEL_TAG in tags:
        return RECORD_FILES
    if tags.get("tp1.experiment") == "evaluate":
        return (*EVALUATION_FILES, CORRUPTIONS_FILE) if tags.get(CORRUPTIONS_TAG) else EVALUATION_FILES
    return LOOK_FILES


def optional_files(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of further artifacts that the record of a run with these tags may have."""
    return OPTIONAL_FILES if MODEL_TAG in tags and PRUNED_TAG not in tags else ()


def _datasets(run: Run) -> list[dict[str, Any]]:
    entries = []
    for item in run.inputs.dataset_inputs if run.inputs else []:
        context = next((tag.value for tag in item.tags if tag.key == "mlflow.data.context"), "")
        entries.append({**item.dataset.to_dictionary(), "context": context})
    return entries
