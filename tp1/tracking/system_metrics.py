"""Load and memory of the machine during a run, measured by MLflow's own monitors."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mlflow.environment_variables import MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor


@contextmanager
def sampled(run_id: str, send: Callable[[dict[str, float], int], None]) -> Iterator[None]:
    """Inside the block, a thread passes ``system/...`` metrics and their step to ``send`` every 10 seconds.

    MLflow's own thread would ask the server about the run each time, and stop for good if the server does not answer.
    ``MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL`` sets another interval; with
    ``MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING=false`` nothing is measured.
    """
    if MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING.is_set() and not MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING.get():
        yield
        return
    monitor = SystemMetricsMonitor(run_id, resume_logging=True)
    done = threading.Event()

    def sample() -> None:
        step = monitor._logging_step
        while True:
            monitor.collect_metrics()
            if done.wait(monitor.sampling_interval):
                return
            measured = monitor.aggregate_metrics()
            for part in monitor.monitors:
                part.clear_metrics()
            send({f"system/{name}": value for name, value in measured.items()}, step)
            step += 1

    thread = threading.Thread(target=sample, name="system-metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
