"""SIGINT and SIGTERM: what is under way is finished first where that matters, and no trainer outlives its launcher."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import psutil

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# One Ctrl-C reaches a trainer under `mlflow run` twice: SIGINT from the terminal, SIGTERM from mlflow right after.
SAME_OCCASION = 1.0  # seconds
WATCH_SECONDS = 1.0
SHELLS = ("bash", "sh", "dash", "zsh")


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM has come.

    Attributes:
        exit_code: What a shell reports of a process that such a signal has ended: 130 or 143.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


class _Handler:
    """What a signal does; it stands in the process's own table of handlers, where :func:`deferred` finds it."""

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
    """Inside, SIGINT, SIGTERM and SIGHUP raise :class:`Interrupted`, and a second one ends the process at once.

    SIGINT also where it was ignored, as a shell has it for what it starts in the background. Only a process's main
    thread can do this; in another one nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread() or _current() is not None:
        yield
        return
    handler = _Handler()
    # A terminal that is closed says SIGHUP, but not to what nohup has started.
    hangup = () if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (signal.SIGHUP,)
    before = {signum: signal.signal(signum, handler) for signum in (*SIGNALS, *hangup)}
    try:
        yield
    finally:
        for signum, previous in before.items():
            signal.signal(signum, previous)


@contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Inside :func:`interruptible`, let a signal wait: until the end of the block, where it is raised.

    Yields:
        Whether one has come.
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
    """The interrupt that an error is, or was: compiled code that a signal comes into may raise another in its place."""
    if isinstance(error, KeyboardInterrupt):
        return error
    handler = _current()
    return None if handler is None or handler.received is None else Interrupted(handler.received)


def watch_launcher() -> None:
    """Where ``mlflow run`` has started this process, end it with SIGTERM when that is gone.

    ``mlflow run`` hands no signal on to what it runs, and SIGKILL could not be: so a thread looks every second.
    """
    links = _links_to_launcher()
    if not links:
        return

    def watch() -> None:
        while all(_parent(child) == parent for child, parent in links):
            time.sleep(WATCH_SECONDS)
        handler = _current()
        if handler is None or handler.received is None:  # else it is ending already, and this is no second signal
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="watch-launcher", daemon=True).start()


def _current() -> _Handler | None:
    handler = signal.getsignal(signal.SIGTERM)
    return handler if isinstance(handler, _Handler) else None


def _links_to_launcher() -> list[tuple[psutil.Process, int]]:
    """Each process from here up to the launcher, but for that, with the process id of its parent."""
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
        if name not in SHELLS:  # mlflow starts a shell, which may stay in between
            return links if name.startswith(("python", "mlflow")) else []
        process = parent
    return []


def _parent(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.Error:
        return None
