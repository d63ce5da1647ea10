"""What all runs share: their MLflow experiment, tags, parent run, and ``error.txt`` if they fail."""

import os
import time
import traceback
from contextlib import suppress

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Experiment, RunInfo, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from mlflow.tracking.context import registry as context

from tp1.base.errors import TP1Error
from tp1.store.access import is_refused
from tp1.store.addresses import is_database, masked, masked_text
from tp1.store.reader import find_run
from tp1.store.runs import MACHINE_TAG, PARENT_TAG
from tp1.tracking.environment import git_state
from tp1.tracking.ownership import machine

MLFLOW_EXPERIMENT = "tp1"  # where our commands put runs; `mlflow run` puts its own where MLFLOW_EXPERIMENT_NAME says
EXPERIMENT_KIND = "mlflow.experimentKind"
NAME_TAG, NOTE_TAG = "mlflow.runName", "mlflow.note.content"


def run_tags(experiment_name: str, configuration: str = "") -> dict[str, str]:
    """Return the tags of every run, even of one that fails on bad arguments.

    Args:
        configuration: The configuration of a study, such as ``c2``; empty without one.
    """
    chosen = {"tp1.configuration": configuration} if configuration else {}
    return {"tp1.experiment": experiment_name, **chosen, **git_state(), MACHINE_TAG: machine()}


def begin_run(tags: dict[str, str], parent: RunInfo | None, launched: str | None) -> str:
    """Create a run, or use the one that ``mlflow run`` has started for this process; return its id.

    Args:
        tags: Set when a new run is created, so that it can be found again whatever happens next.
        parent: The parent of a new run.
        launched: The id of the run that ``mlflow run`` has started.
    """
    client = MlflowClient()
    if launched is not None:
        check_launched(launched)
        client.log_batch(launched, tags=[RunTag(key, value) for key, value in tags.items()])
        return launched
    if parent is not None:
        tags = tags | {PARENT_TAG: parent.run_id}
    experiment_id = parent.experiment_id if parent is not None else new_run_experiment()
    created = client.create_run(experiment_id, tags=context.resolve_tags(tags))
    return str(created.info.run_id)


def check_launched(run_id: str) -> None:
    """Refuse a run that ``mlflow run`` has not just started: its results would be overwritten.

    Raises:
        TP1Error: It is not there, not RUNNING, or somebody has written to it.
    """
    try:
        run = find_run(run_id)
    except TP1Error as error:
        raise TP1Error(f"MLFLOW_RUN_ID={run_id} in the environment: {error} Unset the variable.") from error
    is_new = run.info.status == "RUNNING" and not run.data.metrics
    if not is_new or any(tag.startswith("tp1.") for tag in run.data.tags):
        raise TP1Error(
            f"MLFLOW_RUN_ID={run_id} in the environment names a run that `mlflow run` has not just started "
            f"({run.info.run_name}, {run.info.status}): nothing is written to it. Unset the variable."
        )


def new_run_experiment() -> str:
    """The id of the MLflow experiment that a new run goes to.

    It is ``MLFLOW_EXPERIMENT_NAME``, else the one of ``MLFLOW_EXPERIMENT_ID``, else :data:`MLFLOW_EXPERIMENT`; one that
    is named is created if necessary. ``mlflow run`` starts a run of its own, in ``--experiment-name`` or MLflow's
    default. It makes no difference to what reads runs: they are found by their tags, in all MLflow experiments.

    Raises:
        TP1Error: It is deleted, or there is none of that id.
    """
    client = MlflowClient()
    name, experiment_id = os.environ.get("MLFLOW_EXPERIMENT_NAME"), os.environ.get("MLFLOW_EXPERIMENT_ID")
    if name or not experiment_id:
        name = name or MLFLOW_EXPERIMENT
        found = client.get_experiment_by_name(name) or _create_experiment(client, name)
    else:
        try:
            found = client.get_experiment(experiment_id)
        except MlflowException as error:
            if not is_refused(error):
                raise
            raise TP1Error(f"there is no MLflow experiment {experiment_id}: check MLFLOW_EXPERIMENT_ID.") from error
    if found.lifecycle_stage != "active":
        uri = masked(mlflow.get_tracking_uri())
        raise TP1Error(
            f"the MLflow experiment {found.name} is deleted, and runs go there: restore it (MLFLOW_TRACKING_URI={uri} "
            f"mlflow experiments restore --experiment-id {found.experiment_id}), or name another in "
            "MLFLOW_EXPERIMENT_NAME."
        )
    return str(found.experiment_id)


def _create_experiment(client: MlflowClient, name: str) -> Experiment:
    location = _beside_default(client) if name == MLFLOW_EXPERIMENT and is_database(mlflow.get_tracking_uri()) else None
    try:
        return client.get_experiment(client.create_experiment(name, location))
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
    found = client.get_experiment_by_name(name)  # another process was quicker
    if found is None:
        raise TP1Error(f"the MLflow experiment {name} was there and is gone: start again.")
    return found


def _beside_default(client: MlflowClient) -> str | None:
    """Where the files of our MLflow experiment go: where those of Default are, wherever the process works."""
    root, _, last = client.get_experiment("0").artifact_location.rpartition("/")
    return f"{root}/{MLFLOW_EXPERIMENT}" if root and last == "0" else None


def mark_experiment(experiment_id: str) -> None:
    """Mark an MLflow experiment as one of trained models; else the UI takes it for one of prompts and traces."""
    client = MlflowClient()
    with suppress(MlflowException):  # if two runs start at once, both set the tag, and MLflow refuses the second
        if EXPERIMENT_KIND not in client.get_experiment(experiment_id).tags:
            client.set_experiment_tag(experiment_id, EXPERIMENT_KIND, "custom_model_development")


def fail_run(run_id: str, error: BaseException) -> None:
    """End a run as FAILED, with ``error.txt``; a store that fails too is ignored, so that ``error`` gets reported."""
    client = MlflowClient()
    with suppress(Exception):
        client.log_text(run_id, error_text(error), "error.txt")
    with suppress(Exception):
        client.set_terminated(run_id, "FAILED")


def milliseconds() -> int:
    """Return the current time as MLflow stores it: milliseconds since 1970, UTC."""
    return round(time.time() * 1000)


def error_text(error: BaseException) -> str:
    """Return the content of ``error.txt``: message and traceback, without passwords."""
    trace = "".join(traceback.format_exception(error))
    text = f"{error}\n\n{trace}" if isinstance(error, TP1Error) else trace
    return masked_text(text.encode(errors="backslashreplace").decode())  # file names may hold bytes that are not UTF-8
