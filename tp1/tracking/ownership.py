"""Who owns a run that is RUNNING: the process that holds its lock on this machine.

The tracking store says only that a run is RUNNING. Whether its process still lives is known on its own machine alone:
the process holds a file lock as long as it lives, however it ends.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tp1.base.errors import TP1Error
from tp1.tracking.run_folders import state_dir, state_unwritable


def machine() -> str:
    """The name of this machine, as runs are tagged with it."""
    return socket.gethostname()


@contextmanager
def held(run_id: str) -> Iterator[None]:
    """This process is at work on a run, until the block or the process ends, however it does.

    Raises:
        TP1Error: Another process is, or the state directory cannot be written.
    """
    try:
        lock = _lock(run_id)
        lock.acquire(timeout=1)  # another may look for a moment whether somebody holds it
    except Timeout as error:
        raise TP1Error(f"another process is at work on run {run_id}: wait for it, or end it.") from error
    except OSError as error:
        raise state_unwritable(error) from error
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def is_held(run_id: str) -> bool:
    """Whether a process on this machine is at work on a run."""
    try:
        lock = _lock(run_id)
        if not Path(lock.lock_file).exists():
            return False
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # nobody can hold anything there
        return False


def _lock(run_id: str) -> FileLock:
    folder = state_dir() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{run_id}.lock", is_singleton=False)
