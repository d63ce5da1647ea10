"""The only module that writes runs to MLflow (their models through model_files)."""

from __future__ import annotations

import hashlib
import json
import os
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

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

from tp1.config import TrainConfig
from tp1.data import ImageData, Part
from tp1.digests import DIGESTS_TAG, as_tag
from tp1.environment import describe_environment, git_state
from tp1.errors import TP1Error
from tp1.experiment import Experiment
from tp1.notes import describe_run, published_for
from tp1.registry import model_digests
from tp1.run_figures import record_figures, run_figures, run_title
from tp1.runs import RunRecord

if TYPE_CHECKING:  # torch comes with them, and commands that only look at runs do without
    from tp1.classifier import ImageModel
    from tp1.evaluation import Evaluation
    from tp1.training import Epoch, TrainingState

FIGURE_DPI = 150
EXPERIMENT_KIND = "mlflow.experimentKind"
CONTEXTS = {"train": "training", "val": "validation", "test": "testing"}


def run_tags(experiment_name: str, configuration: str = "") -> dict[str, str]:
    """The tags that every run has, also one that fails before it has a configuration.

    Args:
        configuration: Such as ``c2``, where the run is one of a study.
    """
    chosen = {"tp1.configuration": configuration} if configuration else {}
    return {"tp1.experiment": experiment_name, **chosen, **git_state()}


@contextmanager
def tracked_run(name: str, tags: Mapping[str, str], *, nested: bool = False) -> Iterator[RunInfo]:
    """An MLflow run: the one that ``mlflow run`` has started, else a new one; nested: a child of the active run.

    It ends FINISHED; KILLED where the user interrupts it; and FAILED, with ``error.txt``, on any other
    error, which is raised again.
    """
    # Inside an entry point MLFLOW_RUN_ID names the run, and start_run() takes it up.
    run = mlflow.start_run(nested=nested, log_system_metrics=True)
    try:
        _mark_experiment(run.info.experiment_id)
        name_run(name)
        mlflow.set_tags(dict(tags))
        yield run.info
    except KeyboardInterrupt:
        with suppress(Exception):
            mlflow.end_run("KILLED")
        raise
    except BaseException as error:
        with suppress(Exception):  # where the store has gone away, the error to tell of is still the first one
            mlflow.log_text(_error_text(error), "error.txt")
            mlflow.end_run("FAILED")
        raise
    mlflow.end_run("FINISHED")


def _mark_experiment(experiment_id: str) -> None:
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


def log_start(
    experiment: Experiment, config: TrainConfig, data: ImageData, facts: Mapping[str, str], command: str
) -> None:
    """Log what is known before the first step: parameters, tags, data sets, configuration and environment.

    Args:
        config: With device, precision and image size resolved.
        facts: Further parameters to log, such as the normalisation.
        command: What repeats the run.
    """
    log_parameters({key: str(value) for key, value in asdict(config).items() if value is not None} | dict(facts))
    log_data(data)
    mlflow.set_tags(
        {
            "tp1.model": experiment.model_name,
            "tp1.seed": str(config.seed),
            "mlflow.note.content": describe_run(experiment, config, data.name, command),
        }
    )
    mlflow.log_dict(
        {
            "experiment": experiment.name,
            "section": experiment.section,
            "model": experiment.model_name,
            "config": {key: value if value is None else _plain(value) for key, value in asdict(config).items()},
            "facts": dict(facts),
            "classes": data.classes,
            "published": published_for(experiment, data.name),
            "command": command,
        },
        "config.json",
    )
    mlflow.log_text(describe_environment(facts["processor"]), "environment.txt")


def log_data(data: ImageData) -> None:
    """The data set and its parts, as MLflow data sets and as tags."""
    mlflow.set_tags(
        {
            "tp1.dataset": data.name,
            "tp1.data_digest": data.digest,
            "tp1.split_digest": data.split_digest,
        }
    )
    for part, dataset in _datasets(data).items():
        mlflow.log_input(dataset, context=CONTEXTS[part])


def log_epoch(epoch: Epoch) -> None:
    """One call per epoch: a call costs 24 ms on SQLite and 56 ms over HTTP, however much it carries."""
    mlflow.log_metrics(
        {
            "train/loss": epoch.train_loss,
            "train/accuracy": epoch.train_accuracy,
            "val/loss": epoch.val_loss,
            "val/accuracy": epoch.val_accuracy,
            "train/images_per_second": epoch.images_per_second,
        },
        step=epoch.number,
    )


def log_result(
    experiment: Experiment,
    config: TrainConfig,
    data: ImageData,
    model: ImageModel,
    state: TrainingState,
    evaluation: Evaluation,
    command: str,
) -> str:
    """Log the trained model and all that was measured on it; return the model's URI.

    The final metrics are linked to the logged model and to the data set that they were measured on.

    Args:
        model: The whole, from raw images, also where ``state`` trained its head alone.
    """
    from tp1.model_files import log_classifier

    best = state.best
    if best is None:
        raise ValueError("nothing was trained")
    logged = log_classifier(model, data.val.images[:2], data.name, config.image_size or data.image_shape[0])
    with TemporaryDirectory() as folder:
        mlflow.set_tag(DIGESTS_TAG, as_tag(model_digests(logged.model_id, Path(folder))))
    datasets = _datasets(data)
    chosen = {"best/epoch": best.number, "best/val_accuracy": best.val_accuracy, "best/val_loss": best.val_loss}
    # Without a step: the UI then draws them as bars, side by side for the runs that are compared.
    mlflow.log_metrics(chosen, model_id=logged.model_id, dataset=datasets["val"])
    final = evaluation.metrics()
    mlflow.log_metrics(final, model_id=logged.model_id, dataset=datasets["test"])
    history = {
        "train/loss": [epoch.train_loss for epoch in state.history],
        "train/accuracy": [epoch.train_accuracy for epoch in state.history],
        "val/loss": [epoch.val_loss for epoch in state.history],
        "val/accuracy": [epoch.val_accuracy for epoch in state.history],
    }
    log_evaluation_files(evaluation)
    title = run_title(experiment.label, data.name, config.seed)
    for name, figure in run_figures(title, history, best.number, evaluation.confusion(), evaluation.classes).items():
        log_figure(figure, name)
    measured = {"val/accuracy": best.val_accuracy, "val/loss": best.val_loss} | final
    log_note(describe_run(experiment, config, data.name, command, measured, best.number))
    uri: str = logged.model_uri
    return uri


def log_evaluation_files(evaluation: Evaluation) -> None:
    """The classification report, the confusion matrix's counts and the predictions."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "classification_report.txt").write_text(evaluation.report_text())
        (folder / "classification_report.json").write_text(json.dumps(evaluation.report(), indent=1))
        evaluation.report_table().to_csv(folder / "classification_report.csv", index_label="class")
        matrix = pd.DataFrame(evaluation.confusion(), list(evaluation.classes), list(evaluation.classes))
        matrix.to_csv(folder / "confusion_matrix.csv", index_label="true")
        # No dictionary for probabilities, which are all different: a third smaller.
        evaluation.predictions().to_parquet(
            folder / "predictions.parquet", index=False, compression="zstd", use_dictionary=["true", "predicted"]
        )
        mlflow.log_artifacts(name)


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
    experiment_id = _experiment_id()
    _mark_experiment(experiment_id)
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


def _experiment_id() -> str:
    """The MLflow experiment that a new run would go to."""
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


def _error_text(error: BaseException) -> str:
    if isinstance(error, TP1Error):
        return f"{error}\n\n{''.join(traceback.format_exception(error))}"
    return "".join(traceback.format_exception(error))


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _run_id() -> str:
    run = mlflow.active_run()
    if run is None:
        raise RuntimeError("no run is active")
    run_id: str = run.info.run_id
    return run_id
