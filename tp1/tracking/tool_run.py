"""Writes the runs of tools, and of records, to MLflow; those that train: tp1.tracking.training_run."""

import hashlib
import os
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import pandas as pd
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.dataset import Dataset
from mlflow.data.dataset_source import DatasetSource
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.http_dataset_source import HTTPDatasetSource
from mlflow.data.numpy_dataset import from_numpy
from mlflow.entities import Dataset as DatasetEntity
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunInfo
from mlflow.exceptions import MlflowException

from tp1.base.errors import TP1Error
from tp1.base.interrupts import interruption
from tp1.data.dataset import ImageData, Part
from tp1.report.run_figures import record_figures
from tp1.store.prepare import masked
from tp1.store.runs import MACHINE_TAG, RunRecord
from tp1.tracking.environment import git_state
from tp1.tracking.run_folders import held, machine

FIGURE_DPI = 150
EXPERIMENT_KIND = "mlflow.experimentKind"
CONTEXTS = {"train": "training", "val": "validation", "test": "testing"}


def run_tags(experiment_name: str, configuration: str = "") -> dict[str, str]:
    """The tags that every run has, also one that fails before it has a configuration.

    Args:
        configuration: Such as ``c2``, where the run is one of a study.
    """
    chosen = {"tp1.configuration": configuration} if configuration else {}
    return {"tp1.experiment": experiment_name, **chosen, **git_state(), MACHINE_TAG: machine()}


@contextmanager
def tracked_run(name: str, tags: Mapping[str, str], *, nested: bool = False) -> Iterator[RunInfo]:
    """An MLflow run: the one that ``mlflow run`` has started, else a new one; nested: a child of the active run.

    It ends FINISHED; KILLED where the user interrupts it; and FAILED, with ``error.txt``, on any other
    error, which is raised again.
    """
    # Inside an entry point MLFLOW_RUN_ID names the run, and start_run() takes it up.
    run = mlflow.start_run(nested=nested, log_system_metrics=True)
    with ExitStack() as stack:
        with suppress(TP1Error):  # looking at runs needs no folder of its own
            stack.enter_context(held(run.info.run_id))
        try:
            mark_experiment(run.info.experiment_id)
            name_run(name)
            mlflow.set_tags(dict(tags))
            yield run.info
        except BaseException as error:
            if (stop := interruption(error)) is not None:
                with suppress(Exception):
                    mlflow.end_run("KILLED")
                raise stop from None if stop is error else error
            # Where the store has gone away, the error to tell of is still the first one.
            with suppress(Exception):
                mlflow.log_text(error_text(error), "error.txt")
            with suppress(Exception):
                mlflow.end_run("FAILED")
            raise
        mlflow.end_run("FINISHED")


def mark_experiment(experiment_id: str) -> None:
    """Tell the UI that the MLflow experiment holds trained models; it would take it for one of prompts and traces."""
    client = MlflowClient()
    with suppress(MlflowException):  # two runs that start at once both set it, and MLflow refuses the second
        if EXPERIMENT_KIND not in client.get_experiment(experiment_id).tags:
            client.set_experiment_tag(experiment_id, EXPERIMENT_KIND, "custom_model_development")


def name_run(name: str) -> None:
    """Name the active run: by its experiment, configuration and seed, never MLflow's random animal."""
    mlflow.set_tag("mlflow.runName", name)


def log_parameters(parameters: Mapping[str, str]) -> None:
    """Parameters of the active run, but those that it has.

    ``mlflow run -P`` has logged what was given, as it was spelled, and a parameter cannot be logged twice.
    """
    given = MlflowClient().get_run(_run_id()).data.params
    mlflow.log_params({key: value for key, value in parameters.items() if key not in given})


def log_note(text: str) -> None:
    """The active run's description, in Markdown."""
    mlflow.set_tag("mlflow.note.content", text)


def log_data(data: ImageData) -> None:
    """The data set and its parts, as MLflow data sets and as tags."""
    mlflow.set_tags(data_tags(data))
    MlflowClient().log_inputs(_run_id(), datasets=dataset_inputs(data))


def data_tags(data: ImageData) -> dict[str, str]:
    """The tags that say which images a run saw."""
    return {"tp1.dataset": data.name, "tp1.data_digest": data.digest, "tp1.split_digest": data.split_digest}


def dataset_inputs(data: ImageData) -> list[DatasetInput]:
    """The parts of a data set as MLflow's inputs of a run."""
    return [
        DatasetInput(DatasetEntity(**dataset.to_dict()), [InputTag("mlflow.data.context", CONTEXTS[part])])
        for part, dataset in _datasets(data).items()
    ]


def log_text(text: str, name: str) -> None:
    """A text file of the run."""
    mlflow.log_text(text, name)


def log_files(files: Mapping[str, bytes]) -> None:
    """Files by name, as artifacts of the active run."""
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        mlflow.log_artifacts(folder)


def log_table(table: pd.DataFrame, name: str) -> None:
    """A table as CSV, its index first."""
    mlflow.log_text(table.to_csv(), name)


def log_figure(figure: Figure, name: str, dpi: int = FIGURE_DPI) -> None:
    """A figure as PNG."""
    mlflow.log_figure(figure, name, save_kwargs={"dpi": dpi})


def log_record(record: RunRecord, tags: Mapping[str, str]) -> str:
    """Write a run that was made elsewhere to the tracking store, with its own times; return its new id.

    It gets figures drawn from its record, since records carry none. ``tags`` are set last, when all else is there.
    """
    client = MlflowClient()
    experiment_id = new_run_experiment()
    mark_experiment(experiment_id)
    run = client.create_run(experiment_id, record.start_time, dict(record.tags), record.name)
    run_id: str = run.info.run_id
    try:
        params = [Param(key, value) for key, value in record.params.items()]
        points = [
            Metric(key, value, time, step) for key, series in record.metrics.items() for step, time, value in series
        ]
        client.log_batch(run_id, params=params)
        for start in range(0, len(points), 1000):  # MLflow's limit for one call
            client.log_batch(run_id, metrics=points[start : start + 1000])
        client.log_inputs(run_id, datasets=[_dataset_input(entry) for entry in record.datasets])
        with TemporaryDirectory() as name:
            for file, content in record.files.items():
                (Path(name) / file).write_bytes(content)
            for file, figure in record_figures(record).items():
                figure.savefig(Path(name) / file, dpi=FIGURE_DPI)
            client.log_artifacts(run_id, name)
        for key, value in tags.items():
            client.set_tag(run_id, key, value)
        client.set_terminated(run_id, "FINISHED", record.end_time)
    except BaseException:
        client.delete_run(run_id)
        raise
    return run_id


def _dataset_input(entry: Mapping[str, Any]) -> DatasetInput:
    fields = {key: entry[key] for key in ("name", "digest", "source_type", "source", "schema", "profile")}
    return DatasetInput(DatasetEntity(**fields), [InputTag("mlflow.data.context", entry["context"])])


def new_run_experiment() -> str:
    """The id of the MLflow experiment that a new run goes to."""
    if name := os.environ.get("MLFLOW_EXPERIMENT_NAME"):
        found = mlflow.get_experiment_by_name(name)
        return str(found.experiment_id if found else mlflow.create_experiment(name))
    return os.environ.get("MLFLOW_EXPERIMENT_ID", "0")


def _datasets(data: ImageData) -> dict[str, Dataset]:
    source = _dataset_source(data.origin)
    parts: dict[str, Part] = {"train": data.train, "val": data.val, "test": data.test}
    return {
        title: from_numpy(
            part.images,
            source=source,
            targets=part.labels,
            name=f"{data.name}-{title}",
            digest=_part_digest(data, title),
        )
        for title, part in parts.items()
    }


def _dataset_source(origin: str) -> DatasetSource:
    if origin.startswith("https://"):
        return HTTPDatasetSource(origin)
    if Path(origin).is_dir():
        with warnings.catch_warnings():  # MLflow registers the class of local folders twice, and says so each time
            warnings.simplefilter("ignore", UserWarning)
            folder: DatasetSource = resolve_dataset_source(origin)
        return folder
    return CodeDatasetSource({"origin": origin})


def _part_digest(data: ImageData, title: str) -> str:
    # The files' digest and the split's say together which images these are; as short as MLflow's own digests,
    # since the UI shows it behind every name.
    return hashlib.sha256(f"{data.digest}/{data.split_digest}/{title}".encode()).hexdigest()[:8]


def error_text(error: BaseException) -> str:
    """What ``error.txt`` says."""
    trace = "".join(traceback.format_exception(error))
    text = f"{error}\n\n{trace}" if isinstance(error, TP1Error) else trace
    return masked(text.encode(errors="backslashreplace").decode())  # names of files may hold bytes that are no text


def _run_id() -> str:
    run = mlflow.active_run()
    if run is None:
        raise RuntimeError("no run is active")
    run_id: str = run.info.run_id
    return run_id
