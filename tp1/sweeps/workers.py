"""Choosing who does the runs of a list."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tp1.sweeps.jobs import Here, Workers
from tp1.sweeps.spread import Spread


@contextmanager
def open_workers(
    spread: Spread, jobs: int, describe_error: Callable[[Exception], str], parent: str
) -> Iterator[Workers]:
    """Yield who does the runs; when the block ends, so do all processes that were started.

    Args:
        jobs: How many there are.
        describe_error: Returns one line that describes an error of a run.
        parent: The id of the parent of the runs, which this process owns.

    Raises:
        TP1Error: The Ray cluster cannot be used.
    """
    if not spread.is_spread or not jobs:
        yield Here()
    elif spread.ray is not None:
        from tp1.sweeps.ray_cluster import RayCluster

        with RayCluster(spread.ray, spread.workers, describe_error, parent) as cluster:
            yield cluster
    else:
        from tp1.sweeps.processes import Processes
        from tp1.sweeps.worker import take_gpu

        with Processes(min(spread.workers or 1, jobs), describe_error, take_gpu) as processes:
            yield processes
