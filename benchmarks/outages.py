"""Compare training with a tracking server that fails in several ways with training with an undisturbed one.

    python -m benchmarks.outages [--rounds 3] [--epochs 200] [--stopped 60]

Each round trains cnnv3 on the bundled digits twice: with an undisturbed server, then with one that is killed (SIGKILL)
and started again after 10 s, stopped (SIGSTOP) for --stopped seconds, and whose proxy answers 500, then 503, then
resets connections. Every point of every metric must be stored exactly once. The ratio compares the times from the end
of the first epoch to the end of the last. Measure on an otherwise idle machine.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import mlflow

from benchmarks.frame import every_experiment
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.servers import TrackingServer
from tp1.store.prepare import prepare_store

PAUSE = 4.0  # seconds between faults
FAULTY = 8.0  # seconds of each kind of faulty response
DOWN = 10.0  # seconds between kill and start


def train(address: str, folder: Path, epochs: int) -> "subprocess.Popen[str]":
    environment = {**os.environ, "MLFLOW_TRACKING_URI": address, "TP1_STATE_DIR": str(folder / "state")}
    command = [sys.executable, "-m", "experiments", "cnnv3", "dataset=digits", f"epochs={epochs}"]
    return subprocess.Popen(
        command,
        env=environment,
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def disturb(server: TrackingServer, proxy: FaultyProxy, process: "subprocess.Popen[str]", stopped: float) -> None:
    """Cause all faults, one after the other."""
    server.stop(signal.SIGKILL)
    time.sleep(DOWN)
    server.start()
    time.sleep(PAUSE)
    server.send(signal.SIGSTOP)
    time.sleep(stopped)
    server.send(signal.SIGCONT)
    for fault in (500, 503, "reset"):
        time.sleep(PAUSE)
        proxy.fault = fault
        time.sleep(FAULTY)
        proxy.fault = None
    if process.poll() is not None:
        raise SystemExit("training ended before the faults did: give more epochs")


def check(address: str, epochs: int) -> tuple[float, int]:
    """Check that the newest run is complete; return its training seconds and its number of metric points.

    The seconds count from the end of the first epoch to the end of the last.

    Raises:
        SystemExit: A point is missing or stored twice, or the run is not finished with exactly one model.
    """
    client = mlflow.MlflowClient(address)
    run = client.search_runs(every_experiment(client), max_results=1)[0]
    points = 0
    for name in run.data.metrics:
        counts = Counter(point.step for point in client.get_metric_history(run.info.run_id, name))
        points += counts.total()
        first, count = (1, epochs) if name.startswith(("train/", "val/")) else (min(counts), len(counts))
        if counts != Counter(range(first, first + count)):
            raise SystemExit(f"{name}: steps {sorted(counts.elements())}")
    if run.info.status != "FINISHED" or len(run.outputs.model_outputs) != 1:
        raise SystemExit(f"{run.info.status}, {len(run.outputs.model_outputs)} models")
    times = [point.timestamp for point in client.get_metric_history(run.info.run_id, "val/loss")]
    return (max(times) - min(times)) / 1000, points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--stopped", type=float, default=60.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = TrackingServer(prepare_store(f"sqlite:///{folder}/mlflow.db"), folder / "artifacts")
        server.start()
        ratios = []
        try:
            with faulty_proxy(server.address) as proxy:
                for number in range(options.rounds):
                    seconds = {}
                    for kind in ("alone", "disturbed"):
                        process = train(proxy.address, folder, options.epochs)
                        assert process.stdout is not None
                        for line in process.stdout:
                            if line.startswith("epoch") and "train loss" in line:
                                break
                        if kind == "disturbed":
                            disturb(server, proxy, process, options.stopped)
                        said = process.communicate()[0]
                        if process.returncode != 0:
                            raise SystemExit(said)
                        seconds[kind], points = check(server.address, options.epochs)
                        print(
                            f"round {number + 1}, {kind}: {seconds[kind]:.1f} s, {points} points, each once", flush=True
                        )
                    ratios.append(seconds["disturbed"] / seconds["alone"])
        finally:
            server.stop(signal.SIGKILL)
    print(f"median ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}), n = {len(ratios)}")


if __name__ == "__main__":
    main()
