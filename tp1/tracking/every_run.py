"""What every run has, whoever writes it: a place, tags, a parent, and ``error.txt`` where it fails."""

import os
import time
import traceback
from contextlib import suppress

import mlflow
from mlflow import MlflowClient
from mlflow.entities import RunInfo, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking.context import registry as context

from tp1.base.errors import TP1Error
from tp1.store.addresses import masked
from tp1.store.runs import MACHINE_TAG
from tp1.tracking.environment import git_state
from tp1.tracking.ownership import machine

EXPERIMENT_KIND = "mlflow.experimentKind"
NAME_TAG, NOTE_TAG, PARENT_TAG = "mlflow.runName", "mlflow.note.content", "mlflow.parentRunId"


def run_tags(experiment_name: str, configuration: str = "") -> dict[str, str]:
    """The tags that every run has, also one that fails before it has a configuration.

    Args:
        configuration: Such as ``c2``, where the run is one of a study.
    """
    chosen = {"tp1.configuration": configuration} if configuration else {}
    return {"tp1.experiment": experiment_name, **chosen, **git_state(), MACHINE_TAG: machine()}


def begin_run(tags: dict[str, str], parent: RunInfo | None, launched: str | None) -> str:
    """Start a run, or take the one that ``mlflow run`` has started for this process; return its id.

    Args:
        tags: A new run has them from its first moment on: whatever happens next, it can be found again.
        parent: Of a new run, which becomes its child.
        launched: The id of the run that ``mlflow run`` has started.
    """
    client = MlflowClient()
    if launched is not None:
        client.log_batch(launched, tags=[RunTag(key, value) for key, value in tags.items()])
        return launched
    if parent is not None:
        tags = tags | {PARENT_TAG: parent.run_id}
    experiment_id = parent.experiment_id if parent is not None else new_run_experiment()
    created = client.create_run(experiment_id, tags=context.resolve_tags(tags))
    return str(created.info.run_id)


def new_run_experiment() -> str:
    """The id of the MLflow experiment that a new run goes to."""
    if name := os.environ.get("MLFLOW_EXPERIMENT_NAME"):
        found = mlflow.get_experiment_by_name(name)
        return str(found.experiment_id if found else mlflow.create_experiment(name))
    return os.environ.get("MLFLOW_EXPERIMENT_ID", "0")


def mark_experiment(experiment_id: str) -> None:
    """Tell the UI that the MLflow experiment holds trained models; it would take it for one of prompts and traces."""
    client = MlflowClient()
    with suppress(MlflowException):  # two runs that start at once both set it, and MLflow refuses the second
        if EXPERIMENT_KIND not in client.get_experiment(experiment_id).tags:
            client.set_experiment_tag(experiment_id, EXPERIMENT_KIND, "custom_model_development")


def fail_run(run_id: str, error: BaseException) -> None:
    """End a run as FAILED, with ``error.txt``; where the store has gone away, ``error`` is still the one to tell of."""
    client = MlflowClient()
    with suppress(Exception):
        client.log_text(run_id, error_text(error), "error.txt")
    with suppress(Exception):
        client.set_terminated(run_id, "FAILED")


def milliseconds() -> int:
    """The time as MLflow keeps it: milliseconds since 1970, UTC."""
    return round(time.time() * 1000)


def error_text(error: BaseException) -> str:
    """The content of ``error.txt``."""
    trace = "".join(traceback.format_exception(error))
    text = f"{error}\n\n{trace}" if isinstance(error, TP1Error) else trace
    return masked(text.encode(errors="backslashreplace").decode())  # names of files may hold bytes that are no text
