"""Unfinished runs to go on with: found by their id, or by what they were to do."""

from dataclasses import fields, replace
from typing import Any

import mlflow

from tp1.base.errors import TP1Error
from tp1.base.progress import say
from tp1.config import TrainConfig
from tp1.experiment import Experiment
from tp1.store.addresses import masked
from tp1.store.reader import find_run
from tp1.tracking.delivery import send_waiting
from tp1.tracking.ownership import is_held
from tp1.tracking.run_folders import RunFolder, find_folder, folders, run_folder, state_dir

PATIENCE = 30.0  # seconds, for what an earlier process has left to be sent


def find_resumable(experiment: Experiment, changed: dict[str, Any], resume: str | None) -> RunFolder | None:
    """The run that ``resume`` names: by its id, or with ``auto`` the newest of the same configuration and seed.

    Args:
        changed: The parameters that are given; those of the run may not differ.

    Returns:
        The run's folder, all that was left of it sent. A folder that is not there (any more) means that the run is
        finished. None where a new run is to be started.

    Raises:
        TP1Error: The run is not here, another process is at work on it, or a parameter differs.
    """
    if resume is None:
        return None
    if resume == "auto":
        found = find_unfinished(experiment, replace(experiment.config, **changed))
        if found is None:
            say(f"There is no unfinished run of this configuration and seed in {state_dir()}: a new one is started.")
        return found
    folder = find_folder(resume)
    if folder is None:
        if (status := find_run(resume).info.status) == "FINISHED":
            return run_folder(resume)
        raise TP1Error(
            f"run {resume} is {status} and has nothing to go on from in {state_dir()}: resume it on the machine where "
            "it ran (TP1_STATE_DIR says where that keeps its checkpoints), or start a new run."
        )
    plan = folder.plan()
    if (plan.experiment, plan.configuration) != (experiment.name, experiment.configuration):
        raise TP1Error(f"run {resume} is one of {plan.label}, not of {experiment.label}: resume it as that.")
    _check_unchanged(plan.config, changed)
    return _take(folder)


def find_unfinished(experiment: Experiment, config: TrainConfig) -> RunFolder | None:
    """The newest run of a configuration and seed that was begun on this machine and is not finished, or None.

    What it had left is sent. Where that was all, the run is finished now, and its folder is not there any more.

    Raises:
        TP1Error: What it has left to be sent cannot be sent.
    """
    for folder in folders():
        if is_held(folder.run_id) or folder.store() != masked(mlflow.get_tracking_uri()):
            continue
        try:
            plan = folder.plan()
        except TP1Error as error:
            say(f"Note: {error}")
            continue
        if (plan.experiment, plan.configuration, plan.config) != (experiment.name, experiment.configuration, config):
            continue
        try:
            find_run(folder.run_id)
        except TP1Error as error:  # such as one that is deleted
            say(f"Note: {error}")
            continue
        return _take(folder)
    return None


def _take(folder: RunFolder) -> RunFolder:
    send_waiting(folder, PATIENCE)
    return folder


def _check_unchanged(config: TrainConfig, changed: dict[str, Any]) -> None:
    for item in fields(config):
        before = getattr(config, item.name)
        if (given := changed.get(item.name, before)) != before:
            raise TP1Error(
                f"{item.name}={given} is not the run's {before}: a resumed run keeps its parameters. Leave it out, or "
                "start a new run."
            )
