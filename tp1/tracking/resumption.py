"""Finding the unfinished run to resume: by its id, or by its configuration and seed."""

from collections.abc import Callable, Mapping
from typing import Any

import mlflow
from mlflow.entities import Run

from tp1.base.errors import TP1Error
from tp1.base.progress import say
from tp1.config import TrainConfig, same_value
from tp1.experiment import Experiment
from tp1.store.reader import find_run
from tp1.store.runs import PRUNED_TAG
from tp1.tracking.delivery import send_waiting
from tp1.tracking.ownership import is_held
from tp1.tracking.run_folders import Plan, RunFolder, find_folder, folders, run_folder, state_dir

PATIENCE = 30.0  # seconds of failing attempts to send what an earlier process left in the outbox


def find_resumable(experiment: Experiment, changed: dict[str, Any], resume: str | None) -> RunFolder | None:
    """Find the run to resume, and send what its outbox holds.

    Args:
        changed: The parameters that the user gave; they must equal those of the run.
        resume: The id of a run, ``auto`` for the newest one of the same configuration and seed, or None.

    Returns:
        The run's folder; if the folder does not exist, the run is finished. None if a new run should start.

    Raises:
        TP1Error: This machine does not have the run, another process owns it, its outbox cannot be sent, or its
            experiment or a parameter differs.
    """
    if resume is None:
        return None
    if resume == "auto":
        found = find_unfinished(experiment, experiment.config.changed(**changed))
        if found is None:
            say(f"There is no unfinished run of this configuration and seed in {state_dir()}: a new one is started.")
        return found
    folder = find_folder(resume)
    if folder is None:
        run = find_run(resume)
        _refuse_pruned(run)
        if run.info.status == "FINISHED":
            _check_finished(run, experiment, changed)
            return run_folder(resume)
        raise TP1Error(
            f"run {resume} is {run.info.status} and has nothing to go on from in {state_dir()}: resume it on "
            "the machine where it ran (TP1_STATE_DIR says where that keeps its checkpoints), or start a new run."
        )
    plan = folder.plan()
    if (plan.experiment, plan.configuration) != (experiment.name, experiment.configuration):
        raise _other(resume, plan.label, experiment)
    _check_unchanged(plan.config, changed)
    _refuse_pruned(send_waiting(folder, PATIENCE))
    return folder


def resumed_config(config: TrainConfig, given: Mapping[str, Any]) -> TrainConfig:
    """The configuration of a resumed run: its own, but device and precision may be named where they were ``auto``.

    On another machine ``auto`` may mean something else than what the run was started with.
    """
    named = {name: given[name] for name in ("device", "precision") if name in given and getattr(config, name) == "auto"}
    return config.changed(**named)


def find_unfinished(experiment: Experiment, config: TrainConfig) -> RunFolder | None:
    """Find the newest unfinished run of a configuration and seed on this machine, and send what its outbox holds.

    The trials of a sweep are not looked at.

    Returns:
        The run's folder; if it does not exist any more, the run only had entries to send and is now finished. None
        if there is no such run.

    Raises:
        TP1Error: The outbox cannot be sent.
    """
    wanted, here = (experiment.name, experiment.configuration, config, None), config.flat()
    return _find(
        lambda plan: (plan.experiment, plan.configuration, resumed_config(plan.config, here), plan.trial) == wanted
    )


def find_trial(sweep: str, number: int) -> RunFolder | None:
    """Find the newest unfinished run of a trial on this machine; the same as :func:`find_unfinished` otherwise."""
    return _find(lambda plan: plan.trial is not None and (plan.trial.sweep, plan.trial.number) == (sweep, number))


def _find(is_wanted: Callable[[Plan], bool]) -> RunFolder | None:
    for folder in folders():
        if is_held(folder.run_id) or not folder.is_of(mlflow.get_tracking_uri()):
            continue
        try:
            plan = folder.plan()
        except TP1Error as error:
            say(f"Note: {error}")
            continue
        if not is_wanted(plan):
            continue
        try:
            find_run(folder.run_id)
        except TP1Error as error:  # such as a deleted run
            say(f"Note: {error}")
            continue
        send_waiting(folder, PATIENCE)
        return folder
    return None


def _refuse_pruned(run: Run) -> None:
    if (epochs := run.data.tags.get(PRUNED_TAG)) is not None:
        raise TP1Error(
            f"run {run.info.run_id} is a trial of a sweep that was stopped early, after epoch {epochs}, and is over: "
            "start a new run with its parameters."
        )


def _check_finished(run: Run, experiment: Experiment, changed: Mapping[str, Any]) -> None:
    name, configuration = (run.data.tags.get(f"tp1.{key}", "") for key in ("experiment", "configuration"))
    if (name, configuration) != (experiment.name, experiment.configuration):
        raise _other(run.info.run_id, "-".join(filter(None, (name, configuration))) or "no experiment", experiment)
    for key, given in changed.items():
        if (before := run.data.params.get(key)) is not None and not same_value(key, str(given), before):
            raise _changed(key, given, before)


def _other(run_id: str, label: str, experiment: Experiment) -> TP1Error:
    return TP1Error(f"run {run_id} is one of {label}, not of {experiment.label}: resume it as that.")


def _changed(name: str, given: object, before: object) -> TP1Error:
    return TP1Error(
        f"{name}={given} is not the run's {before}: a resumed run keeps its parameters. Leave it out, or start a new "
        "run."
    )


def _check_unchanged(config: TrainConfig, changed: dict[str, Any]) -> None:
    for name, before in resumed_config(config, changed).flat().items():
        if (given := changed.get(name, before)) != before:
            raise _changed(name, given, before)
