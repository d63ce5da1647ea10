"""Load the team's server with many training clients at once, then check that it stored every point and file.

    python -m benchmarks.team_load [--clients 32] [--minutes 3] [--restart]

The server is started as in the compose file, with PostgreSQL and an object store (moto) as separate processes. Clients
do what training does, without the computation: an outbox per run, five metrics every two seconds, and at the end an
entry with files that ends the run. They share four processes, because 32 that import torch would cost more memory and
start-up time than what is measured. With --restart, PostgreSQL is down for 5 s in the middle. Afterwards another
account reads everything back. The exit code is 1 if a point or file is missing, different or extra, or a run is not
FINISHED. Measure on an otherwise idle machine.
"""

import argparse
import hashlib
import logging
import multiprocessing
import os
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import psutil
from mlflow.exceptions import MlflowException

from tests.support.team_server import START_SECONDS, Team, team_server
from tp1.store.access import is_refused
from tp1.tracking.delivery import deliver
from tp1.tracking.outbox import Entry, Outbox, Point
from tp1.tracking.training_run import PATIENCE

PROCESSES = 4
EPOCHS = 5
EPOCH = (1.5, 2.5)  # seconds, drawn at random so that clients are not synchronised
DOWN = 5.0  # seconds that PostgreSQL is down
METRICS = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "train/images_per_second")
FINAL = ("test/loss", "test/accuracy", "test/f1_macro")
FILES = {  # bytes, as in a run on CIFAR-10
    "predictions.parquet": 400_000,
    "curves.png": 60_000,
    "confusion_matrix.png": 40_000,
    "classification_report.txt": 900,
    "classification_report.csv": 700,
    "tables/classification_report.json": 1_500,
}
AS_THE_COMMANDS = {  # tp1/commands/command.py
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


@dataclass
class Told:
    """The points and files that clients sent to the server, with call statistics.

    Attributes:
        points: Points by run id: name, value, time and step.
        files: SHA-256 by path, by run id.
        seconds: Durations of the successful calls by kind, including MLflow's own retries.
        failed: Number of failed calls by kind; the outbox repeats them.
        unsent: Number of entries that runs gave up sending.
    """

    points: dict[str, list[tuple[str, float, int, int]]] = field(default_factory=dict)
    files: dict[str, dict[str, str]] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in ("put", "metrics", "files")})
    failed: Counter[str] = field(default_factory=Counter)
    unsent: int = 0

    def add(self, other: "Told") -> None:
        self.points |= other.points
        self.files |= other.files
        for kind, seconds in other.seconds.items():
            self.seconds[kind] += seconds
        self.failed += other.failed
        self.unsent += other.unsent

    def timed(self, kind: str, call: Callable[..., Any], when: Callable[..., bool] = lambda *_, **__: True) -> Any:
        """Wrap a call so that its durations and failures are recorded, where ``when`` holds for its arguments."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if not when(*args, **kwargs):
                return call(*args, **kwargs)
            began = time.monotonic()
            try:
                result = call(*args, **kwargs)
            except Exception:
                self.failed[kind] += 1
                raise
            self.seconds[kind].append(time.monotonic() - began)
            return result

        return wrapped


def client(number: int, experiment_id: str, folder: Path, seconds: float) -> Told:
    """Simulate one run after another until the time is over; the last one is completed."""
    told, chance = Told(), random.Random(number)
    mlflow_client = mlflow.MlflowClient()
    mlflow_client.log_batch = told.timed("metrics", mlflow_client.log_batch, lambda *_, metrics=(), **__: bool(metrics))
    mlflow_client.log_artifacts = told.timed("files", mlflow_client.log_artifacts)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            run_id = mlflow_client.create_run(experiment_id, run_name=f"client-{number}").info.run_id
        except MlflowException:  # a run can only start while the server responds: try again
            told.failed["start"] += 1
            time.sleep(1)
            continue
        train(run_id, mlflow_client, told, chance, folder / run_id)
    return told


def train(run_id: str, mlflow_client: mlflow.MlflowClient, told: Told, chance: random.Random, folder: Path) -> None:
    """Simulate one run, sent through its outbox."""
    points = told.points[run_id] = []
    files = told.files[run_id] = {}
    outbox = Outbox(folder, lambda entry: deliver(mlflow_client, run_id, entry), is_refused)
    put = told.timed("put", outbox.put)

    def measured(names: Iterable[str], step: int) -> list[Point]:
        new = [Point(name, chance.random(), now(), step) for name in names]
        points.extend((point.name, point.value, point.time, point.step) for point in new)
        return new

    def fill(partial: Path) -> None:
        for name, size in FILES.items():
            content = chance.randbytes(size)
            files[name] = hashlib.sha256(content).hexdigest()
            path = partial / "files" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    for epoch in range(1, EPOCHS + 1):
        time.sleep(chance.uniform(*EPOCH))
        put(Entry(measured(METRICS, epoch)))
    put(Entry(measured(FINAL, 0), {"mlflow.note.content": "trained"}, "FINISHED", now()), fill)
    if not outbox.close(PATIENCE):
        told.unsent += outbox.waiting


def client_process(
    environment: dict[str, str], experiment_id: str, numbers: list[int], folder: Path, seconds: float
) -> Told:
    """Run several clients that share an account and an experiment; this is one of the processes."""
    os.environ.update(AS_THE_COMMANDS | environment)
    told = Told()
    with (
        (folder / f"clients-{experiment_id}.log").open("w") as log,
        redirect_stdout(log),
        redirect_stderr(log),
        ThreadPoolExecutor(len(numbers)) as threads,
    ):
        for one in threads.map(lambda number: client(number, experiment_id, folder, seconds), numbers):
            told.add(one)
    return told


@contextmanager
def sampled_memory(team: Team) -> Iterator[dict[str, tuple[float, int]]]:
    """Sample the memory of server and PostgreSQL every second; yield the peaks: (MB, number of processes then).

    The server's memory is the sum of resident sizes. PostgreSQL's processes share most of theirs, so theirs is the sum
    of proportional sizes (PSS).
    """
    peaks = {"server": (0.0, 0), "PostgreSQL": (0.0, 0)}
    done = threading.Event()

    def note(name: str, sizes: list[int]) -> None:
        peaks[name] = max(peaks[name], (sum(sizes) / 1e6, len(sizes)))

    def sample() -> None:
        while not done.wait(1):
            with suppress(psutil.Error):  # a process has just ended
                note("server", [process.memory_info().rss for process in team.processes()])
            with suppress(psutil.Error):
                assert team.database.process is not None
                first = psutil.Process(team.database.process.pid)
                note("PostgreSQL", [process.memory_full_info().pss for process in (first, *first.children())])

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        done.set()
        thread.join()


def losses(team: Team, told: Told) -> list[str]:
    """Return one line for each difference between the server's content and what the clients sent."""
    mlflow_client = mlflow.MlflowClient()
    experiments = [experiment.experiment_id for experiment in mlflow_client.search_experiments()]
    runs, token = {}, ""
    while token is not None:
        page = mlflow_client.search_runs(experiments, max_results=1000, page_token=token)
        runs |= {run.info.run_id: run for run in page}
        token = page.token or None

    def of_run(run_id: str) -> list[str]:
        if run_id not in runs:
            return [f"run {run_id} is not there"]
        found = [f"run {run_id} is {status}"] if (status := runs[run_id].info.status) != "FINISHED" else []
        names = {*runs[run_id].data.metrics, *METRICS, *FINAL}
        histories = (point for name in names for point in mlflow_client.get_metric_history(run_id, name))
        there = Counter((point.key, point.value, point.timestamp, point.step) for point in histories)
        expected = Counter(told.points[run_id])
        found += [f"run {run_id}: point {point} is missing" for point in (expected - there).elements()]
        found += [f"run {run_id}: point {point} is too many" for point in (there - expected).elements()]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(mlflow_client.download_artifacts(run_id, "", name))
            files = {
                path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in folder.rglob("*")
                if path.is_file()
            }
        wrong = dict(files.items() ^ told.files[run_id].items())
        return found + [f"run {run_id}: file {path} is missing, different or too many" for path in sorted(wrong)]

    with ThreadPoolExecutor(4) as threads:
        found = [line for lines in threads.map(of_run, told.points) for line in lines]
    rows = int(team.database.run("psql", "-d", "tp1", "-Atc", "SELECT count(*) FROM metrics"))
    if rows != (expected := sum(map(len, told.points.values()))):
        found.append(f"{rows} rows of metrics in PostgreSQL, not {expected}")
    if told.unsent:
        found.append(f"{told.unsent} entries were given up on after {PATIENCE:.0f} s")
    # The response to their creation was lost: these runs are empty, so nothing is lost.
    if strangers := runs.keys() - told.points.keys():
        print(f"{len(strangers)} runs were made without their client's hearing of it")
    return found


def load(clients: int, seconds: float, restart: bool, folder: Path) -> list[str]:
    """Run the clients, print the measurements, and return the losses, one line each."""
    numbers = [list(range(clients))[start::PROCESSES] for start in range(min(PROCESSES, clients))]
    told = Told()
    with team_server(folder, workers=4, measured=True) as team:
        experiments = {}
        for account in (f"account-{number}" for number in range(len(numbers))):
            team.add_account(account)
            with team.account(account):
                experiments[account] = mlflow.MlflowClient().create_experiment(account)
        team.add_account("reader")
        context = multiprocessing.get_context("spawn")  # forking a process that has threads is unsafe
        imported = context.Barrier(len(numbers) + 1)  # imports take seconds: all begin together after them
        pool = ProcessPoolExecutor(len(numbers), context, initializer=imported.wait, initargs=(START_SECONDS,))
        with sampled_memory(team) as memory, pool:
            at_work = [
                pool.submit(client_process, team.environment(account), experiment_id, mine, folder, seconds)
                for (account, experiment_id), mine in zip(experiments.items(), numbers, strict=True)
            ]
            imported.wait(START_SECONDS)
            if restart:
                time.sleep(seconds / 2)
                team.database.stop()
                time.sleep(DOWN)
                team.database.start()
            for process in at_work:
                told.add(process.result())
        with team.account("reader"):
            found = losses(team, told)
        report(clients, seconds, restart, told, memory)
        if found:  # print the logs of clients and server
            logs = [*sorted(folder.glob("clients-*.log")), folder / "server.log"]
            print(*(f"{log.name}:\n{log.read_text()[-3000:]}" for log in logs), sep="\n")
    return found


def report(clients: int, seconds: float, restart: bool, told: Told, memory: dict[str, tuple[float, int]]) -> None:
    during = f", PostgreSQL away for {DOWN:.0f} s" if restart else ""
    points, files = (sum(map(len, kind.values())) for kind in (told.points, told.files))
    print(f"{clients} clients, {seconds:.0f} s{during}: {len(told.points)} runs, {points} points, {files} files told")
    print(f"{'':24}{'calls':>8}{'failed':>8}{'p50 ms':>9}{'p95 ms':>9}{'max ms':>9}")
    titles = {"put": "into the outbox", "metrics": "an entry's metrics", "files": "a run's files"}
    for kind, title in titles.items():
        times = 1000 * np.array(told.seconds[kind] or [np.nan])
        p50, p95 = np.percentile(times, [50, 95])
        calls, failed = len(told.seconds[kind]), told.failed[kind]
        print(f"{title:24}{calls:8}{failed:8}{p50:9.1f}{p95:9.1f}{times.max():9.1f}")
    print(f"{'a run was begun':24}{len(told.points):8}{told.failed['start']:8}")
    for name, (size, processes) in memory.items():
        print(f"{name}: at most {size:.0f} MB, in {processes} processes", flush=True)


def now() -> int:
    return round(time.time() * 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--restart", action="store_true", help="stop PostgreSQL for 5 s in the middle")
    options = parser.parse_args()
    os.environ.update(AS_THE_COMMANDS)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        found = load(options.clients, 60 * options.minutes, options.restart, Path(name))
    if found:
        raise SystemExit("\n".join([*found[:20], f"LOST: {len(found)} things are not as they were told"]))
    print("nothing lost, nothing twice, every run FINISHED")


if __name__ == "__main__":
    main()
