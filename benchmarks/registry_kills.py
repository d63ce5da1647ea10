"""Kill promote, rollback, download and migrate at random moments, repeat the command, and look at what is left.

    python -m benchmarks.registry_kills --kills 100

Each trial has a tracking store of its own, with two trained models. A command is killed at a random moment (mostly by
SIGKILL, else by SIGTERM or SIGINT). At once, the champion must be the one of before or of after, whole and with all its
tags, and a downloaded folder whole or not there. Then the command runs again and must end well, past the lock that the
killed one may have left; what is left must be what one undisturbed command leaves.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import mlflow

from benchmarks.frame import every_experiment
from tp1.base.digests import check_digests, file_digests
from tp1.base.errors import TP1Error
from tp1.registry.stored_models import fetch, stored
from tp1.registry.versions import find_version
from tp1.store.prepare import prepare_store

NAME = "tp1-digits"
SIGNALS = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}  # signal -> exit code
PRELOADED = ["tp1.registry.promotion", "tp1.registry.migrate", "sklearn.metrics", "experiments.__main__"]
WEAK, STRONG = "cnn-base", "cnnv2"
LIMIT = 120.0  # seconds for one command


@dataclass(frozen=True)
class Trial:
    """A command, and the commands that make the store that it finds."""

    name: str
    arguments: tuple[str, ...]
    before: tuple[tuple[str, ...], ...]


def make_trials(root: Path) -> list[Trial]:
    """The commands that are killed."""
    weak, strong = (("promote", "dataset=digits", f"experiments={name}") for name in (WEAK, STRONG))
    return [
        Trial("first promote", weak, ()),
        Trial("promote that wins", strong, (weak,)),
        Trial("promote that loses", weak, (strong,)),
        Trial("rollback", ("rollback", "dataset=digits"), (weak, strong)),
        Trial("download", ("download", "dataset=digits", "to=here"), (weak, strong)),
        Trial("migrate", ("migrate", f"sqlite:///{root}/trained/mlflow.db"), ()),
    ]


def _command(arguments: Sequence[str], folder: Path, connection: Connection) -> None:
    """Run a command, as a shell would; this is the main function of its process."""
    import torch

    from experiments.__main__ import main
    from tp1.registry import lock

    log = os.open(folder / "log.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    for name in ("cache", "state"):
        os.environ[f"TP1_{name.upper()}_DIR"] = str(folder.parent / name)
    os.chdir(folder)
    torch.set_num_threads(1)
    lock.RENEW_SECONDS, lock.STALE_SECONDS, lock.SETTLE_SECONDS = 0.1, 0.5, 0.1  # not to wait a minute after each kill
    connection.send("ready")
    main(list(arguments), prog_name="tp1")


def run_once(arguments: Sequence[str], folder: Path, after: float | None = None, signum: int = 0) -> tuple[int, float]:
    """Run a command in a new process; return its exit code and seconds.

    Args:
        after: Seconds after which it gets the signal ``signum``; None: never.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_command, args=(tuple(arguments), folder, theirs))
    process.start()
    theirs.close()
    if not ours.poll(LIMIT):
        raise SystemExit(f"{arguments[0]} did not start: {folder}")
    ours.recv()
    began = time.monotonic()
    process.join(LIMIT if after is None else after)
    if after is not None and process.is_alive():
        os.kill(process.pid or 0, signum)
    process.join(LIMIT)
    if process.is_alive():
        process.kill()
        raise SystemExit(f"{arguments[0]} took more than {LIMIT:g} s: see {folder / 'log.txt'}")
    return int(process.exitcode or 0), time.monotonic() - began


def outcome(folder: Path) -> dict[str, Any]:
    """What a store has, without ids, times and the runs of tools.

    Raises:
        SystemExit: An alias points to a version that is not whole, or a download is not.
    """
    client = mlflow.MlflowClient()
    runs = [run for run in client.search_runs(every_experiment(client)) if "tp1.model" in run.data.tags]
    names = {run.info.run_id: run.info.run_name for run in runs}
    aliases: dict[str, str] = {}
    for model in client.search_registered_models(f"name = '{NAME}'"):
        for alias, number in model.aliases.items():
            version = find_version(NAME, int(number))
            if version is None or not version.description or "tp1.verdict" not in version.tags:
                raise SystemExit(f"{alias} points to a version that is not whole: {folder}")
            with tempfile.TemporaryDirectory() as files:
                fetch(stored(version), Path(files))
            aliases[alias] = names[version.run_id]
    if (info := folder / "here" / "model.json").parent.exists():
        try:
            check_digests(info.parent, json.loads(info.read_text(encoding="utf-8"))["sha256"], "the download", "")
        except (OSError, TP1Error) as error:
            raise SystemExit(f"the download is not whole: {error} {folder}") from error
    return {
        "aliases": aliases,
        "runs": sorted(
            (
                run.info.run_name,
                run.info.status,
                sorted(run.data.metrics.items()),
                sorted(run.data.params.items()),
                len(run.outputs.model_outputs) if run.outputs else 0,
                sorted(file_digests(Path(run.info.artifact_uri.removeprefix("file://"))).items()),
            )
            for run in runs
        ),
        "models": len(client.search_logged_models(every_experiment(client))),
        "downloaded": info.is_file(),
    }


def use(folder: Path) -> None:
    """Make a folder's store the one in use."""
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"


def make_stores(root: Path, trials: Sequence[Trial]) -> dict[str, Path]:
    """Train the two models, and make the database that each trial starts with."""
    trained = root / "trained"
    trained.mkdir()
    prepare_store(f"sqlite:///{root}/empty.db")
    _copy(root / "empty.db", trained)
    for arguments in ((WEAK, "epochs=1", "learning_rate=1e-4"), (STRONG, "epochs=3")):
        if run_once((*arguments, "dataset=digits"), trained)[0] != 0:
            raise SystemExit(f"the training of {arguments[0]} failed: {trained / 'log.txt'}")
    stores = {}
    for number, trial in enumerate(trials):
        folder = root / f"before{number}"
        folder.mkdir()
        _copy(root / "empty.db" if trial.name == "migrate" else trained / "mlflow.db", folder)
        for arguments in trial.before:
            if run_once(arguments, folder)[0] != 0:
                raise SystemExit(f"{arguments} failed: {folder / 'log.txt'}")
        stores[trial.name] = folder / "mlflow.db"
    return stores


def kill_and_repeat(kills: int, seed: int, root: Path, say: Callable[[str], None] = print) -> Counter[str]:
    """Run trials until there were ``kills`` kills; return their number in total, by command and by signal.

    Raises:
        SystemExit: A trial left something that is neither the state of before nor that of after.
    """
    os.environ |= {"OMP_NUM_THREADS": "1", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    trials = make_trials(root)
    stores = make_stores(root, trials)
    draw = random.Random(seed)
    done: Counter[str] = Counter()
    known = {}
    for number, trial in enumerate(trials):
        folder = _new_folder(root, f"alone{number}", stores[trial.name])
        before = outcome(folder)
        code, seconds = run_once(trial.arguments, folder)
        if code != 0:
            raise SystemExit(f"{trial.name} failed when left alone: {folder / 'log.txt'}")
        known[trial.name] = before, outcome(folder), seconds
        say(f"{trial.name}: {seconds:.2f} s")
    number = 0
    while done["kills"] < kills:
        trial = trials[number % len(trials)]
        number += 1
        before, after, seconds = known[trial.name]
        folder = _new_folder(root, f"{number:04d}", stores[trial.name])
        signum = draw.choices(list(SIGNALS), [0.7, 0.15, 0.15])[0]
        code = run_once(trial.arguments, folder, draw.uniform(0, seconds), signum)[0]
        if code not in (0, SIGNALS[signum]):
            raise SystemExit(f"{trial.name}: exit code {code} after {signal.Signals(signum).name}: {folder}")
        found = outcome(folder)
        if found["aliases"] not in (before["aliases"], after["aliases"]) and trial.name != "migrate":
            raise SystemExit(f"{trial.name} left {found['aliases']}: {folder}")
        if code != 0:
            done.update([trial.name, signal.Signals(signum).name, "kills"])
        # A rollback that was done has nothing to do the second time.
        if trial.name != "rollback" or found["aliases"] != after["aliases"]:
            if (again := run_once(trial.arguments, folder)[0]) != 0:
                raise SystemExit(f"{trial.name} ended with exit code {again} the second time: {folder / 'log.txt'}")
            found = outcome(folder)
        if found != after:
            wrong = [key for key in after if found[key] != after[key]]
            raise SystemExit(f"{trial.name} left other {', '.join(wrong)} than a command left alone: {folder}")
        say(f"{done['kills']:4d} kills; {trial.name}: {signal.Signals(signum).name if code else 'ended before'}")
        shutil.rmtree(folder)
    return done


def _new_folder(root: Path, name: str, database: Path) -> Path:
    folder = root / name
    folder.mkdir()
    _copy(database, folder)
    use(folder)
    return folder


def _copy(database: Path, folder: Path) -> None:
    """Copy a database with what its write-ahead log still holds."""
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(folder / "mlflow.db")) as target:
        source.backup(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="tp1-registry-kills-"))
    print(f"In {root}", flush=True)
    began = time.monotonic()
    done = kill_and_repeat(options.kills, options.seed, root, lambda line: print(line, flush=True))
    print(json.dumps(done), f"{time.monotonic() - began:.0f} s, nothing left inconsistent")
    shutil.rmtree(root)


if __name__ == "__main__":
    main()
