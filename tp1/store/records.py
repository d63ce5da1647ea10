"""The whole of a finished run, but for its model: what a record keeps."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from tp1.base.errors import TP1Error
from tp1.store.reader import find_run
from tp1.store.runs import MACHINE_TAG, MODEL_TAG

# What a record keeps of a run's artifacts: the figures can be drawn from these.
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
LOOK_FILES = ("samples.png", "class_distribution.csv", "channels.csv")  # of an eda run


@dataclass(frozen=True)
class RunRecord:
    """A finished training or ``eda`` run without its model, complete enough to be compared and reported.

    Attributes:
        run_id: The id of the run that the record was made from.
        start_time, end_time: Milliseconds since 1970, UTC.
        metrics: By name, the history as (step, milliseconds since 1970, value).
        datasets: MLflow's dataset inputs, with their ``context``.
        files: Artifacts by name.
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


def make_record(run_id: str) -> RunRecord:
    """The record of a finished training run, or of an ``eda`` run.

    Raises:
        TP1Error: There is no such run, it is not finished, or it is neither of the two.
    """
    run = find_run(run_id)
    tags = run.data.tags
    if run.info.status != "FINISHED" or not (MODEL_TAG in tags or tags.get("tp1.experiment") == "eda"):
        raise TP1Error(
            f"run {run_id} is {run.info.status} and cannot be kept: it must be a finished training or eda run."
        )
    client = MlflowClient()
    files = {}
    with TemporaryDirectory() as folder:
        for name in record_files(tags):
            try:
                files[name] = Path(client.download_artifacts(run_id, name, folder)).read_bytes()
            except (MlflowException, OSError) as error:
                raise TP1Error(f"run {run_id} has no artifact {name}: it was not logged whole.") from error
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
            key: [(point.step, point.timestamp, point.value) for point in client.get_metric_history(run_id, key)]
            for key in run.data.metrics
        },
        datasets=_datasets(run),
        files=files,
    )


def record_files(tags: Mapping[str, str]) -> tuple[str, ...]:
    """The files that the record of a run with these tags has."""
    return RECORD_FILES if MODEL_TAG in tags else LOOK_FILES


def _datasets(run: Run) -> list[dict[str, Any]]:
    entries = []
    for item in run.inputs.dataset_inputs if run.inputs else []:
        context = next((tag.value for tag in item.tags if tag.key == "mlflow.data.context"), "")
        entries.append({**item.dataset.to_dictionary(), "context": context})
    return entries
