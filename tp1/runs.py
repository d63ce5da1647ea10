"""The only module that reads runs from MLflow."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository

from tp1.errors import TP1Error
from tp1.store import masked

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
REFERENCE_TAG = "tp1.reference"  # on a run that was loaded from a record: the id of the run it was made from


@dataclass(frozen=True)
class RunRecord:
    """A finished training run without its model, complete enough to be compared and reported.

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


def read_run(run_id: str) -> RunRecord:
    """The record of a finished training run.

    Raises:
        TP1Error: There is no such run, it is not finished, or it is not a training run of this platform.
    """
    client = MlflowClient()
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        raise TP1Error(
            f"no run {run_id} in {masked(mlflow.get_tracking_uri())}: copy its id from the tracking UI."
        ) from error
    if run.info.status != "FINISHED" or "tp1.model" not in run.data.tags:
        raise TP1Error(f"run {run_id} is {run.info.status} and cannot be kept: it must be a finished training run.")
    files = {}
    with TemporaryDirectory() as folder:
        for name in RECORD_FILES:
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
            key: value for key, value in run.data.tags.items() if key.startswith("tp1.") or key == "mlflow.note.content"
        },
        metrics={
            key: [(point.step, point.timestamp, point.value) for point in client.get_metric_history(run_id, key)]
            for key in run.data.metrics
        },
        datasets=_datasets(run),
        files=files,
    )


def download_weights(model_uri: str, folder: Path) -> Path:
    """Fetch the weights file of a model of this platform into ``folder``.

    Args:
        model_uri: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or ``models:/m-ID``.

    Raises:
        TP1Error: There is no such model, or it was not made by this platform.
    """
    name = "extra_files/weights.safetensors"
    try:
        return Path(ModelsArtifactRepository(model_uri).download_artifacts(name, str(folder)))
    except (MlflowException, OSError) as error:
        raise TP1Error(
            f"no model {model_uri} with {name} in {masked(mlflow.get_tracking_uri())} "
            f"({str(error).splitlines()[0]}): see the model registry."
        ) from error


def find_copy(run_id: str) -> str | None:
    """The id under which run ``run_id`` is in the store: its own, or that of a reference made from it."""
    try:
        here = MlflowClient().get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException:
        here = False
    if not here:
        experiments = [experiment.experiment_id for experiment in mlflow.search_experiments()]
        copies = mlflow.search_runs(
            experiments, f"tags.`{REFERENCE_TAG}` = '{run_id}'", max_results=1, output_format="list"
        )
        return str(copies[0].info.run_id) if copies else None
    return run_id


def _datasets(run: Run) -> list[dict[str, Any]]:
    entries = []
    for item in run.inputs.dataset_inputs if run.inputs else []:
        context = next((tag.value for tag in item.tags if tag.key == "mlflow.data.context"), "")
        entries.append({**item.dataset.to_dictionary(), "context": context})
    return entries
