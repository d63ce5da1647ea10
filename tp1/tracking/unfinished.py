"""Runs that were begun and are not finished, or have something left on this machine, and what can be done."""

from collections.abc import Iterator
from dataclasses import dataclass

import mlflow

from tp1.store.prepare import masked
from tp1.store.runs import RunReader, StartedRun
from tp1.tracking.outbox import entry_paths
from tp1.tracking.run_folders import RunFolder, checkpoint_paths, folders, is_held, machine

RUNNING, STALE = "running", "stale"


@dataclass(frozen=True)
class Unfinished:
    """A run that is not finished, or not whole in its tracking store.

    Attributes:
        started: Milliseconds since 1970, UTC.
        state: ``running``: a process here is at work on it. ``stale``: it says that it is running, and its process is
            gone. ``on NAME``: it says that it is running, on another machine. ``killed``, ``failed``: it has ended so,
            and can be gone on with. ``unsent``: it has ended, and its store lacks the end of it.
        epochs: How many its newest checkpoint has; None where there is none.
        size: Bytes that it takes on this machine.
    """

    run_id: str
    name: str
    experiment: str
    started: int
    state: str
    epochs: int | None
    size: int
    resumable: bool


def find_unfinished_runs() -> Iterator[Unfinished]:
    """The unfinished runs of the tracking store, and of this machine, newest first."""
    here = {folder.run_id: folder for folder in local_folders()}
    for run in RunReader().find_started(list(here)):
        folder = here.get(run.run_id)
        state = _state(run, folder)
        if state is None:
            continue
        paths = checkpoint_paths(folder.checkpoints) if folder else []
        yield Unfinished(
            run_id=run.run_id,
            name=run.name,
            experiment=run.experiment,
            started=run.start_time,
            state=state,
            epochs=int(paths[0].name.split("-")[0]) if paths else None,
            size=folder.size() if folder else 0,
            resumable=folder is not None and state not in (RUNNING, "unsent"),
        )


def local_folders() -> list[RunFolder]:
    """The folders on this machine of runs of the tracking store in use."""
    store = masked(mlflow.get_tracking_uri())
    return [folder for folder in folders() if folder.store() == store]


def _state(run: StartedRun, folder: RunFolder | None) -> str | None:
    if is_held(run.run_id):
        return RUNNING
    if folder is not None and entry_paths(folder.outbox):
        return "unsent"
    if run.status in ("RUNNING", "SCHEDULED"):
        return STALE if folder is not None or run.machine in ("", machine()) else f"on {run.machine}"
    if folder is not None and run.status in ("KILLED", "FAILED"):
        return run.status.lower()
    return None
