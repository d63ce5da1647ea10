"""SIGINT, SIGTERM and SIGHUP: critical steps finish first, and a training process ends with its launcher."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import psutil

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Under `mlflow run`, one Ctrl-C reaches a training process twice: SIGINT from the terminal, then SIGTERM from mlflow.
SAME_OCCASION = 1.0  # seconds
WATCH_SECONDS = 1.0
SHELLS = ("bash", "sh", "dash", "zsh")


class Interrupted(KeyboardInterrupt):
    """The process has received SIGINT, SIGTERM or SIGHUP.

    Attributes:
        exit_code: 128 + the signal's number, as a shell reports it: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP.
        reason: What it comes from, in words; empty where a signal is all that is known.
    """

    def __init__(self, signum: int, reason: str = "") -> None:
        super().__init__(reason or signal.Signals(signum).name)
        self.reason = reason
        self.exit_code = 128 + signum


class _Handler:
    """The signal handler; :func:`deferred` finds it in the process's table of handlers."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.at = 0.0
        self.waits = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self.at = signum, time.monotonic()
            if not self.waits:
                raise Interrupted(signum)
        elif time.monotonic() - self.at > SAME_OCCASION:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside the block, SIGINT, SIGTERM and SIGHUP raise :class:`Interrupted`.

    A second signal, more than :data:`SAME_OCCASION` later, ends the process at once. SIGINT also raises where it was
    ignored, as a shell sets it for background processes. Only the main thread can set handlers; in any other thread
    nothing changes.
    """
    if threading.current_thread() is not threading.main_thread() or _current() is not None:
        yield
        return
    handler = _Handler()
    # A terminal that closes sends SIGHUP. A process started by nohup ignores it, and goes on doing so.
    hangup = () if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (signal.SIGHUP,)
    before = {signum: signal.signal(signum, handler) for signum in (*SIGNALS, *hangup)}
    try:
        yield
    finally:
        for signum, previous in before.items():
            signal.signal(signum, previous)


@contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Inside :func:`interruptible`, delay a signal: :class:`Interrupted` is raised at the end of the block.

    Yields:
        A function that tells whether a signal has arrived.
    """
    handler = _current()
    if handler is None:
        yield lambda: False
        return
    handler.waits = True
    try:
        yield lambda: handler.received is not None
    finally:
        handler.waits = False
    if handler.received is not None:
        raise Interrupted(handler.received)


def interruption(error: BaseException) -> KeyboardInterrupt | None:
    """Return the interrupt behind an error, or None if no signal has arrived.

    A KeyboardInterrupt is returned as it is. For any other error after a signal, a new :class:`Interrupted` is
    returned: compiled code that a signal interrupts may raise an error of its own instead.
    """
    if isinstance(error, KeyboardInterrupt):
        return error
    handler = _current()
    return None if handler is None or handler.received is None else Interrupted(handler.received)


def watch_launcher() -> None:
    """If ``mlflow run`` started this process, send it SIGTERM when ``mlflow run`` has ended.

    ``mlflow run`` passes no signals on to its child, and SIGKILL cannot be passed on: so a thread checks every second.
    """
    links = _links_to_launcher()
    if not links:
        return

    def watch() -> None:
        while all(_parent(child) == parent for child, parent in links):
            time.sleep(WATCH_SECONDS)
        handler = _current()
        if handler is None or handler.received is None:  # else it is already ending: send no second signal
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="watch-launcher", daemon=True).start()


def _current() -> _Handler | None:
    handler = signal.getsignal(signal.SIGTERM)
    return handler if isinstance(handler, _Handler) else None


def _links_to_launcher() -> list[tuple[psutil.Process, int]]:
    """Return (process, its parent's id) from this process up to the launcher's child; empty if there is none."""
    if "MLFLOW_RUN_ID" not in os.environ:
        return []
    links = []
    process = psutil.Process()
    for parent in process.parents():
        links.append((process, parent.pid))
        try:
            name = parent.name()
        except psutil.Error:
            return []
        if name not in SHELLS:  # mlflow starts a shell, which may remain as a parent
            return links if name.startswith(("python", "mlflow")) else []
        process = parent
    return []


def _parent(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.Error:
        return None
