"""Runs whose process is gone while their parent goes on: found by name below the parent."""

import time

from mlflow import MlflowClient

from tp1.base.errors import TP1Error
from tp1.store.reader import RunReader
from tp1.store.runs import TrackedRun
from tp1.tracking.delivery import is_over, send_waiting
from tp1.tracking.ownership import is_held
from tp1.tracking.resumption import PATIENCE
from tp1.tracking.run_folders import RunFolder, run_folder
from tp1.tracking.tool_run import ToolRun

# Seconds to wait for a lost process to let go of its run: one that was only cut off from its cluster ends itself, and a
# network file system gives up the lock of a machine that is gone after a minute or two.
RELEASE_PATIENCE = 180.0


def end_lost(parent: ToolRun, name: str) -> None:
    """End a child run whose process was killed, as KILLED: nobody else would. Its folder stays, to go on from."""
    run = _newest(parent, name)
    if run is not None and run.status == "RUNNING" and not is_held(run.run_id):
        MlflowClient().set_terminated(run.run_id, "KILLED")


def take_over(parent: ToolRun, name: str) -> tuple[TrackedRun, RunFolder | None] | None:
    """Find what a lost process has left of a child run, and send what waits in its outbox.

    Returns:
        The run, and its folder to resume it from, which is None if the run is over. None if there is nothing to go on
        with: a new run should start.

    Raises:
        TP1Error: The process is not gone after :data:`RELEASE_PATIENCE`, or its outbox cannot be sent.
    """
    if (run := _newest(parent, name)) is None:
        return None
    until = time.monotonic() + RELEASE_PATIENCE
    while is_held(run.run_id):
        if time.monotonic() > until:
            raise TP1Error(f"another process is still at work on run {run.run_id}: wait for it, or end it.")
        time.sleep(0.5)
    folder = run_folder(run.run_id)
    if is_over(send_waiting(folder, PATIENCE)):
        found = _newest(parent, name)
        assert found is not None
        return found, None
    if folder.is_there:
        return run, folder
    end_lost(parent, name)  # it was lost before it had anything
    return None


def _newest(parent: ToolRun, name: str) -> TrackedRun | None:
    return next((run for run in RunReader().find_children(parent.info.run_id) if run.name == name), None)
