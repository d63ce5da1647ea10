"""Worker processes on this machine."""

import logging
import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import active_children, get_context
from types import TracebackType
from typing import Any, Self

import joblib

from tp1.base.progress import say
from tp1.sweeps.jobs import LostError, Work
from tp1.sweeps.worker import begin, do_in_process, packed

STOP_SECONDS = 30.0  # until a worker that was told to stop is killed; it finishes its batch and keeps a checkpoint


class Processes:
    """Worker processes, each with its share of threads.

    Each is an executor of its own: one whose process is killed takes no other with it.

    Args:
        count: Number of processes; each is started with the first work for it.
        describe_error: Returns one line that describes an error of the work.
        prepare: Called in each process with its number, from 0, before the first work.
    """

    retries = 0  # what has run out of memory would do so again

    def __init__(
        self, count: int, describe_error: Callable[[Exception], str], prepare: Callable[[int], None] | None = None
    ) -> None:
        self.places = count
        self._describe = describe_error
        self._prepare = prepare
        self._free = list(range(count))
        self._executors: dict[int, ProcessPoolExecutor] = {}
        self._busy: dict[Future[Any], int] = {}
        self._others = set(active_children())

    def __enter__(self) -> Self:
        return self

    def submit(self, name: str, work: Work, *, again: bool) -> "Future[Any]":
        call = partial(do_in_process, name, packed(work), again, self._describe)
        place = min(self._free)
        try:
            future = self._executor(place).submit(call)
        except BrokenProcessPool:  # killed while it had nothing to do
            del self._executors[place]
            future = self._executor(place).submit(call)
        self._free.remove(place)
        self._busy[future] = place
        return future

    def result(self, future: "Future[Any]") -> Any:
        place = self._busy.pop(future)
        self._free.append(place)
        try:
            return future.result().result()
        except BrokenProcessPool as error:
            self._executors.pop(place).shutdown()
            raise LostError(
                "its process was killed from outside (is the memory too small for so many workers?); the same command "
                "goes on."
            ) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._stop()
        for executor in self._executors.values():
            executor.shutdown(cancel_futures=True)

    def _stop(self) -> None:
        """Interrupt what is being done, and wait for it to end."""
        processes = [process for process in active_children() if process not in self._others]
        if self._busy:
            say(f"Stopping {len(self._busy)} run{'s' * (len(self._busy) != 1)} ...")
        for process in processes:
            process.terminate()
        if wait(self._busy, STOP_SECONDS).not_done:
            for process in processes:
                process.kill()

    def _executor(self, place: int) -> ProcessPoolExecutor:
        if place not in self._executors:
            level = logging.getLogger("mlflow").getEffectiveLevel()
            share = (place, threads_each(self.places), level, self._prepare)
            self._executors[place] = ProcessPoolExecutor(1, get_context("spawn"), initializer=begin, initargs=share)
        return self._executors[place]


def threads_each(count: int) -> int:
    """Return the threads of each of several workers: ``OMP_NUM_THREADS``, else its share of the processors."""
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    return int(chosen) if chosen.isdecimal() and int(chosen) else max(joblib.cpu_count() // count, 1)
