"""Where the runs of a list are done: one after another here, or several at a time in other processes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tp1.sweeps.jobs import Here, Workers

MOST_WORKERS = 256


@dataclass(frozen=True)
class Spread:
    """Where the runs of a list are done.

    Attributes:
        workers: How many at a time; None: one.
    """

    workers: int | None = None

    @property
    def is_spread(self) -> bool:
        """Whether other processes do the runs."""
        return (self.workers or 1) > 1


@contextmanager
def open_workers(spread: Spread, jobs: int, describe_error: Callable[[Exception], str]) -> Iterator[Workers]:
    """Yield who does the runs; when the block ends, so do all processes that were started.

    Args:
        jobs: How many there are.
        describe_error: Returns one line that describes an error of a run.
    """
    count = min(spread.workers or 1, jobs)
    if not spread.is_spread or count < 1:
        yield Here()
        return
    from tp1.sweeps.processes import Processes
    from tp1.sweeps.worker import take_gpu

    with Processes(count, describe_error, take_gpu) as workers:
        yield workers
