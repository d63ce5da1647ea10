"""Unfinished runs: those that have not ended, and those that still have a folder on this machine."""

from collections.abc import Collection, Iterator

import mlflow

from tp1.store.reader import RunReader
from tp1.store.runs import TrackedRun
from tp1.tracking.delivery import is_there
from tp1.tracking.outbox import entry_paths
from tp1.tracking.ownership import is_held, machine
from tp1.tracking.run_folders import RunFolder, folders

RUNNING, STALE, UNSENT = "running", "stale", "unsent"


def find_unfinished_runs() -> Iterator[tuple[TrackedRun, RunFolder | None, str]]:
    """Yield the unfinished runs of the tracking store in use, newest first.

    Yields:
        The run, its folder on this machine (None without one), and its state:

        - ``running``: a process on this machine owns it;
        - ``unsent``: no process owns it, and its outbox on this machine holds entries;
        - ``stale``: its status is RUNNING, but its process on this machine is gone;
        - ``on NAME``: its status is RUNNING, on another machine;
        - ``killed``, ``failed``: it has ended with that status and can be resumed here.
    """
    here = {folder.run_id: folder for folder in local_folders()}
    for run in RunReader().find_started(list(here)):
        folder = here.get(run.run_id)
        if (state := _state(run, folder)) is not None:
            yield run, folder, state


def find_abandoned(known: Collection[str]) -> list[RunFolder]:
    """Return the folders on this machine whose runs were deleted in the tracking store in use, newest first.

    Args:
        known: Ids of runs that are there, and need not be asked for.

    Raises:
        MlflowException: The store does not answer.
    """
    return [
        folder
        for folder in local_folders()
        if folder.store() and folder.run_id not in known and not is_held(folder.run_id) and not is_there(folder.run_id)
    ]


def is_resumable(folder: RunFolder | None, state: str) -> bool:
    """Whether a run with this folder and state can be resumed on this machine."""
    return folder is not None and state not in (RUNNING, UNSENT)


def local_folders() -> list[RunFolder]:
    """Return the run folders on this machine that belong to the tracking store in use, newest first.

    One whose plan is damaged may belong to any store, and is among them.
    """
    store = mlflow.get_tracking_uri()
    return [folder for folder in folders() if not folder.store() or folder.is_of(store)]


def _state(run: TrackedRun, folder: RunFolder | None) -> str | None:
    if is_held(run.run_id):
        return RUNNING
    if folder is not None and entry_paths(folder.outbox):
        return UNSENT
    if run.status in ("RUNNING", "SCHEDULED"):
        return STALE if folder is not None or run.machine in ("", machine()) else f"on {run.machine}"
    if folder is not None and run.status in ("KILLED", "FAILED") and run.pruned is None:
        return run.status.lower()
    return None
