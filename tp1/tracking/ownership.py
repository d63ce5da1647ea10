"""Ownership of runs: the process that works on a run holds a file lock on its machine.

The tracking store knows only that a run is RUNNING. Only the run's own machine can tell whether its process still
exists: the operating system releases the lock when the process ends, however it ends.
"""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tp1.base.errors import TP1Error
from tp1.tracking.run_folders import state_dir, state_unwritable


def machine() -> str:
    """Return the host name of this machine, which runs have as a tag."""
    return socket.gethostname()


class Owned:
    """A run that this process owns."""

    def __init__(self) -> None:
        self.workers: list[threading.Thread] = []

    def keep_for(self, worker: threading.Thread) -> None:
        """Own the run until ``worker`` has ended too, as one that may still send for it."""
        self.workers.append(worker)


@contextmanager
def held(run_id: str, what: str = "run") -> Iterator[Owned]:
    """Inside the block, this process owns the run; afterwards too, as long as one of its workers is alive.

    Args:
        what: What the id is of, for the message: a sweep can be owned too.

    Raises:
        TP1Error: Another process owns the run, or the state directory cannot be written.
    """
    try:
        lock = _lock(run_id)
        lock.acquire(timeout=1)  # another process holds it for a moment in is_held
    except Timeout as error:
        raise TP1Error(f"another process is at work on {what} {run_id}: wait for it, or end it.") from error
    except OSError as error:
        raise state_unwritable(error) from error
    owned = Owned()
    try:
        yield owned
    finally:
        if any(worker.is_alive() for worker in owned.workers):
            threading.Thread(target=_release, args=(lock, owned.workers), name="ownership", daemon=True).start()
        else:
            _release(lock)


def is_held(run_id: str) -> bool:
    """Whether a process on this machine owns the run."""
    try:
        lock = _lock(run_id)
        if not Path(lock.lock_file).exists():
            return False
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # nobody can hold a lock there
        return False


def _release(lock: FileLock, after: Sequence[threading.Thread] = ()) -> None:
    for worker in after:
        worker.join()
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def _lock(run_id: str) -> FileLock:
    folder = state_dir() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{run_id}.lock", is_singleton=False, thread_local=False)
