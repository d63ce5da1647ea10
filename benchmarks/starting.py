"""From a command to its first batch: what a user waits before training begins."""

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from benchmarks.frame import Table, take_turns

PROJECT = Path(__file__).resolve().parent.parent
COMMANDS = {
    "python -m experiments cnnv3": [sys.executable, "-m", "experiments", "cnnv3", "dataset=digits", "epochs=1"],
    "mlflow run . -e cnnv3": [
        *("mlflow", "run", ".", "--env-manager", "local", "-e", "cnnv3", "-P", "dataset=digits", "-P", "epochs=1"),
    ],
}
READY = " parameters, on "  # in the line that is printed right before the first batch


def first_batch(command: list[str], folder: Path) -> float:
    """Start cnnv3 on the digits; return the seconds until it trains."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/starting.db", "PATH": path}
    began = time.perf_counter()
    seconds = None
    with subprocess.Popen(
        command, env=environment, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if seconds is None and READY in line:
                seconds = time.perf_counter() - began
    if process.returncode or seconds is None:
        raise SystemExit(f"{' '.join(command)} failed")
    return seconds


def table(rounds: int, folder: Path) -> Table:
    """Measure each way of starting."""
    about = "cnnv3 on the digits, whose decoded images are in the cache, to an SQLite store that exists."
    ways = {name: partial(first_batch, command, folder) for name, command in COMMANDS.items()}
    return Table("From the command to the first batch", "s", about, take_turns(ways, rounds))
