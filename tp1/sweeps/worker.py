"""A worker: a process that does one piece of work after another for a list of runs. It is started once."""

import io
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TextIO

import cloudpickle
from tqdm import tqdm

from tp1.base.errors import TP1Error
from tp1.base.interrupts import interruptible, interruption
from tp1.sweeps.jobs import Work


@dataclass(frozen=True)
class Done:
    """What came of work, as it is sent back: an error is a line of text, since not every error can be sent.

    Attributes:
        failed: Why there is no result; None if there is one.
    """

    value: Any = None
    failed: str | None = None

    def result(self) -> Any:
        """Return the result.

        Raises:
            TP1Error: There is none.
        """
        if self.failed is not None:
            raise TP1Error(self.failed)
        return self.value


def packed(work: Work) -> bytes:
    """Return work as it is sent to a worker; functions that are in no module are sent whole."""
    return bytes(cloudpickle.dumps(work))


def do(name: str, work: bytes, again: bool, describe_error: Callable[[Exception], str]) -> Done:
    """Do work that was :func:`packed`; every line that it prints begins with ``name``.

    SIGTERM interrupts it, as it would a run of its own: a checkpoint is kept.
    """
    with labelled(name):
        try:
            with interruptible():
                try:
                    return Done(cloudpickle.loads(work)(again))
                except Exception as error:
                    if (stop := interruption(error)) is not None:
                        raise stop from error
                    return Done(failed=describe_error(error))
        except KeyboardInterrupt:
            return Done(failed="interrupted by a signal; the same command goes on.")


def do_in_process(name: str, work: bytes, again: bool, describe_error: Callable[[Exception], str]) -> Done:
    """The same in a worker process, which a terminal's signals reach as its parent: the parent alone passes them on."""
    try:
        with interruptible():
            for signum in (signal.SIGINT, signal.SIGHUP):
                signal.signal(signum, signal.SIG_IGN)
            return do(name, work, again, describe_error)
    finally:
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():  # nobody would ever give more work
            os.kill(os.getpid(), signal.SIGTERM)


def begin(number: int, threads: int, log_level: int, prepare: Callable[[int], None] | None) -> None:
    """Begin a worker process with its share of threads.

    The process ends soon after its parent, however that ends; what it is at ends as by SIGTERM.

    Args:
        number: From 0.
        threads: For computing.
        log_level: Of MLflow's messages.
        prepare: Called with the number before the first work.
    """
    for signum in (signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="watch-parent", daemon=True).start()
    logging.getLogger("mlflow").setLevel(log_level)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for whatever library is not loaded yet, such as torch
    own_output()
    # Its own lock is one for several processes: a worker that is killed would leave it behind in the system.
    tqdm.set_lock(threading.RLock())
    if prepare is not None:
        prepare(number)


def take_gpu(number: int) -> None:
    """Let this process, whose CUDA is not in use yet, see one of several GPUs only."""
    import torch

    gpu = gpu_of(number, torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # CUDA reads it when it is first used


def gpu_of(number: int, count: int, visible: str | None) -> str | None:
    """Return which GPU a worker shall see, as ``CUDA_VISIBLE_DEVICES`` names it; None if there is no choice.

    Args:
        number: Of the worker, from 0; with more workers than GPUs, several share one.
        count: Of the GPUs.
        visible: ``CUDA_VISIBLE_DEVICES``.
    """
    if count < 2:
        return None
    names = visible.split(",") if visible else [str(one) for one in range(count)]
    return names[number % count]


class Lines(io.TextIOBase):
    """Text output of which only whole lines are written, each at once, so that those of several processes do not mix.

    Args:
        output: Where they go.
    """

    def __init__(self, output: TextIO) -> None:
        self.label = ""
        self._output = output
        self._rest = ""
        self._writing = threading.Lock()

    def write(self, text: str) -> int:
        with self._writing:
            *lines, self._rest = (self._rest + text).split("\n")
            whole = "".join(f"{self.label}{line}\n" for line in lines if line)
            code = self._output.encoding or "utf-8"
            with suppress(OSError):  # the reader of the output is gone, but the work goes on
                self._output.write(whole.encode(code, "backslashreplace").decode(code))
                self._output.flush()
        return len(text)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._output.fileno()


def own_output() -> None:
    """Let this process write whole lines only."""
    if not isinstance(sys.stdout, Lines):
        sys.stdout, sys.stderr = Lines(sys.stdout), Lines(sys.stderr)


@contextmanager
def labelled(name: str) -> Iterator[None]:
    """Inside the block, each line of this process's output begins with a name."""
    outputs = [output for output in (sys.stdout, sys.stderr) if isinstance(output, Lines)]
    for output in outputs:
        output.label = f"{name}: "
    try:
        yield
    finally:
        for output in outputs:
            output.write("\n")  # what was no whole line
            output.label = ""


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
