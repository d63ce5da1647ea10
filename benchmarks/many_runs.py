"""Time and memory of `tp1 compare` on a large tracking store, on SQLite and over HTTP.

The runs are copies of a real one (reference/cifar10/cnnv3-s0), with twelve experiments, twenty learning rates and five
seeds; each combination occurs many times. One run in twelve is of cnnv3.
"""

import os
import random
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.frame import Table, take_turns
from tests.support.servers import TrackingServer

PROJECT = Path(__file__).resolve().parent.parent
EXPERIMENTS = ("cnnv3", "cnnv2", "cnn-base", "alexnet-scratch", "fusion", *(f"own-{number}" for number in range(7)))
RATES = [round(1e-4 * 1.3**step, 6) for step in range(20)]
TABLES = ("runs", "params", "tags", "latest_metrics", "metrics", "inputs")


def fill(path: Path, count: int) -> None:
    """Fill a store with ``count`` copies of its only run."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA synchronous=OFF")
    (source,) = next(database.execute("SELECT run_uuid FROM runs"))
    templates = {}
    for table in TABLES:
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        key = "destination_id" if table == "inputs" else "run_uuid"
        # System metrics are most of the points, and a comparison does not read them.
        extra = " AND key NOT LIKE 'system/%'" if table == "metrics" else ""
        rows = database.execute(f"SELECT * FROM {table} WHERE {key} = ?{extra}", (source,)).fetchall()
        templates[table] = (columns, columns.index(key), rows)
    tags_of_input = dict(database.execute("SELECT input_uuid, value FROM input_tags").fetchall())
    generator = random.Random(0)
    for number in range(count):
        run_id = uuid.UUID(int=generator.getrandbits(128)).hex
        experiment = EXPERIMENTS[number % len(EXPERIMENTS)]
        rate, seed = generator.choice(RATES), str(generator.randrange(5))
        values = {"learning_rate": str(rate), "tp1.experiment": experiment, "tp1.seed": seed, "seed": seed}
        for table, (columns, place, rows) in templates.items():
            copies = [list(row) for row in rows]
            for copy in copies:
                copy[place] = run_id
                if table == "runs":
                    copy[columns.index("start_time")] += number
                    copy[columns.index("name")] = f"{experiment}-s{seed}"
                if table in ("params", "tags"):
                    key = copy[columns.index("key")]
                    copy[columns.index("value")] = values.get(key, copy[columns.index("value")])
                if table == "inputs":
                    old, copy[columns.index("input_uuid")] = copy[columns.index("input_uuid")], uuid.uuid4().hex
                    database.execute(
                        "INSERT INTO input_tags VALUES (?, 'mlflow.data.context', ?)",
                        (copy[columns.index("input_uuid")], tags_of_input[old]),
                    )
            marks = ",".join("?" * len(columns))
            database.executemany(f"INSERT INTO {table} ({','.join(columns)}) VALUES ({marks})", copies)
    database.commit()
    database.close()


def measure(uri: str, folder: Path, *arguments: str) -> tuple[float, float]:
    """Run `tp1 compare`; return its seconds and its peak resident memory in MB."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri}
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments", "compare", *arguments, f"to={folder / 'out'}"],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit("compare failed")
    return time.perf_counter() - began, usage.ru_maxrss / 1000


@contextmanager
def server(uri: str, folder: Path) -> Iterator[str]:
    """Run a real MLflow server with its default number of workers (4); yield its address."""
    started = TrackingServer(uri, folder / "artifacts", workers=4)
    try:
        started.start()
        yield started.address
    finally:
        started.stop()


def table(count: int, rounds: int, folder: Path) -> Table:
    """Measure `tp1 compare` on ``count`` runs."""
    uri = f"sqlite:///{folder / 'many.db'}"
    subprocess.run(
        [sys.executable, "-m", "experiments", "import", "reference/cifar10/cnnv3-s0"],
        cwd=PROJECT,
        env={**os.environ, "MLFLOW_TRACKING_URI": uri},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    fill(folder / "many.db", count)
    largest: dict[str, float] = {}

    def compare(name: str, address: str, *arguments: str) -> Callable[[], float]:
        def work() -> float:
            seconds, megabytes = measure(address, folder, *arguments)
            largest[name] = max(largest.get(name, 0), megabytes)
            return seconds

        return work

    with server(uri, folder) as address:
        rows = take_turns(
            {
                "all, from SQLite": compare("all, from SQLite", uri),
                "one experiment, from SQLite": compare("one experiment, from SQLite", uri, "experiments=cnnv3"),
                "all, over HTTP": compare("all, over HTTP", address),
            },
            rounds,
        )
    memory = "; ".join(f"{name}: {megabytes:,.0f} MB" for name, megabytes in largest.items())
    about = f"`tp1 compare` on {count:,} runs, of which one in twelve is of cnnv3. Memory at most: {memory}."
    return Table(f"Compare {count:,} runs", "s", about, rows)
