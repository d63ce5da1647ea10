"""Kill training at random moments of every phase, resume it, and compare the result with an uninterrupted run.

    python -m benchmarks.kills --kills 200

Each trial trains one experiment with a store, cache and state directory of its own. It is killed up to three times
(mostly by SIGKILL, else by SIGTERM or SIGINT), each time at a random moment of a phase. After each kill, the same
command runs again, with resume=auto. In the end there must be exactly one finished run with one model, whose weights,
metrics, parameters and files are bit for bit those of the uninterrupted run.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from PIL import Image

from benchmarks.frame import every_experiment
from tp1.store.prepare import prepare_store

PHASES = ("data cache", "feature cache", "start", "training", "evaluation", "export", "logging")
SIGNALS = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}  # signal -> exit code
TIMING = ("system/", "train/images_per_second")  # metrics that differ in every run
PRELOADED = ["tp1.run", "tp1.tracking.model_files", "torchvision.models", "sklearn.metrics", "experiments.__main__"]
LIMIT = 120.0  # seconds for one attempt


@dataclass(frozen=True)
class Trial:
    """An experiment and the arguments of its command."""

    name: str
    arguments: tuple[str, ...]

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases of the experiment."""
        return PHASES if "pretrained" in self.name else tuple(name for name in PHASES if name != "feature cache")


def _announce(connection: Connection) -> None:
    """Make each phase send its name and the time when it begins and ends."""
    import tp1.data.dataset
    import tp1.preparation
    import tp1.run
    import tp1.tracking.training_run

    def wrap(owner: Any, name: str, phase: str, when: Callable[..., bool] = lambda *_: True) -> None:
        original = getattr(owner, name)

        def announced(*args: Any, **kwargs: Any) -> Any:
            if not when(*args):
                return original(*args, **kwargs)
            connection.send((phase, time.monotonic()))
            try:
                return original(*args, **kwargs)
            finally:
                connection.send((phase, time.monotonic()))

        setattr(owner, name, announced)

    wrap(tp1.data.dataset, "load_images", "data cache")
    wrap(tp1.preparation, "feature_parts", "feature cache")
    wrap(tp1.tracking.training_run.RunWriter, "log_start", "start")
    wrap(tp1.run, "train", "training")
    wrap(tp1.preparation, "evaluate", "evaluation")
    wrap(tp1.run, "save_classifier", "export")
    wrap(tp1.tracking.training_run, "deliver", "logging", lambda client, run_id, entry: entry.status == "FINISHED")


def _attempt(arguments: Sequence[str], folder: Path, connection: Connection) -> None:
    """Run the command of an experiment, as a shell would; this is the main function of its process."""
    import torch

    import tp1.run
    from experiments.__main__ import main

    log = os.open(folder / "log.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for name in ("cache", "state"):
        os.environ[f"TP1_{name.upper()}_DIR"] = str(folder / name)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    os.environ["MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"] = "0.2"
    os.chdir(folder)
    torch.set_num_threads(1)
    tp1.run.KEEP_SECONDS = 0.05  # several checkpoints within an epoch
    _announce(connection)
    main(list(arguments), prog_name="tp1")


def run_once(
    trial: Trial, folder: Path, phase: str | None = None, after: float = 0.0, signum: int = signal.SIGKILL
) -> tuple[int, dict[str, float]]:
    """Run one attempt at a trial in a new process.

    Args:
        phase: ``after`` seconds after the beginning of this phase, the process gets the signal ``signum``; None: never.

    Returns:
        The exit code, and the seconds spent in each phase.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_attempt, args=((trial.name, *trial.arguments), folder, theirs))
    process.start()
    theirs.close()
    began: dict[str, float] = {}
    seconds: dict[str, float] = {}
    due: float | None = None
    sent = False
    limit = time.monotonic() + LIMIT
    while process.is_alive() and time.monotonic() < limit:
        wait = 0.5 if due is None or sent else max(due - time.monotonic(), 0)
        try:
            if ours.poll(wait):
                name, at = ours.recv()
                if name in began:
                    seconds[name] = at - began.pop(name)
                else:
                    began[name] = at
                    if name == phase and due is None:
                        due = at + after
        except EOFError:
            process.join(LIMIT)
            break
        if due is not None and not sent and time.monotonic() >= due:
            os.kill(process.pid or 0, signum)
            sent = True
    if process.is_alive():
        process.kill()
        raise SystemExit(f"an attempt took more than {LIMIT:g} s: see {folder / 'log.txt'}")
    process.join()
    return int(process.exitcode or 0), seconds


def finished(folder: Path) -> bool:
    """Whether the trial has exactly one run, and that one is FINISHED."""
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    return [run.info.status for run in client.search_runs(every_experiment(client))] == ["FINISHED"]


def of_finished(trial: Trial, folder: Path) -> Trial:
    """The trial that goes on with its run, which is finished."""
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (run,) = client.search_runs(every_experiment(client))
    return replace(trial, arguments=(f"resume={run.info.run_id}",))


def outcome(folder: Path) -> dict[str, Any]:
    """Return a trial's results in its store, without times and timing metrics.

    Raises:
        SystemExit: There is not exactly one finished run with one ready model, or a metric has a step twice.
    """
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    runs = client.search_runs(every_experiment(client))
    models = client.search_logged_models(every_experiment(client))
    if [run.info.status for run in runs] != ["FINISHED"] or [str(model.status) for model in models] != ["READY"]:
        raise SystemExit(f"{len(runs)} runs, {[run.info.status for run in runs]}; {len(models)} models: {folder}")
    (run,), (model,) = runs, models
    histories = {}
    for name in run.data.metrics:
        points = client.get_metric_history(run.info.run_id, name)
        steps = [point.step for point in points]
        if len(set(steps)) != len(steps):
            raise SystemExit(f"{name} has a step twice, {steps}: {folder}")
        if not name.startswith(TIMING):
            histories[name] = [(point.step, point.value) for point in sorted(points, key=lambda point: point.step)]
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    location = Path(model.artifact_location.removeprefix("file://"))
    files = {path.name: path for path in artifacts.rglob("*") if path.is_file()}
    weights = location / "extra_files" / "weights.safetensors"
    linked = {metric.key: metric.value for metric in client.get_logged_model(model.model_id).metrics}
    return {
        "metrics": histories,
        "parameters": run.data.params,
        "files": {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sorted(files.items())},
        "weights": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "model's metrics": linked,
        "data sets": sorted(item.dataset.name for item in run.inputs.dataset_inputs),
        "left behind": sorted(str(path) for path in (folder / "state" / "runs").iterdir()),
    }


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Return the names of the results that differ."""
    different = []
    for part, value in expected.items():
        other = found[part]
        if value == other:
            continue
        if isinstance(value, dict):
            different += [f"{part}: {key}" for key in value.keys() | other.keys() if value.get(key) != other.get(key)]
        else:
            different.append(part)
    return different


def make_trials(folder: Path) -> list[Trial]:
    """Make the trials: a small network from scratch, with augmentation, and a frozen one, on generated images."""
    import safetensors.torch
    import torch
    from torchvision import models

    generator = np.random.default_rng(0)
    for label, colour in enumerate([(200, 90, 90), (90, 200, 90), (90, 90, 200)]):
        (folder / "shapes" / "abc"[label]).mkdir(parents=True)
        for number in range(100):
            noise = np.clip(np.array(colour) + generator.normal(0, 90, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(noise).save(folder / "shapes" / "abc"[label] / f"{number:03d}.png")
    torch.manual_seed(0)
    state = models.mobilenet_v2(weights=None).state_dict()
    safetensors.torch.save_file(state, folder / "mobilenet_v2.safetensors")
    images = (f"dataset={folder / 'shapes'}", "batch_size=16", "resume=auto")
    return [
        Trial("cnnv2", (*images, "epochs=5", "augment=flip-crop")),
        Trial(
            "mobilenetv2-pretrained",
            (
                *images,
                "epochs=5",
                "image_size=64",
                "learning_rate=0.5",
                f"weights={folder / 'mobilenet_v2.safetensors'}",
            ),
        ),
    ]


def new_folder(root: Path, number: int, empty: Path) -> Path:
    """Make a trial's folder, with a copy of the empty tracking store."""
    folder = root / f"{number:04d}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(empty, folder / "mlflow.db")
    return folder


def kill_and_resume(
    kills: int, seed: int, root: Path, say: Callable[[str], None] = print, names: Sequence[str] = ()
) -> Counter[str]:
    """Run trials until there were ``kills`` kills; return the number of kills in total, by phase and by signal.

    Args:
        names: Names of the experiments; empty: all.

    Raises:
        SystemExit: A trial failed, or its results differ from those of the uninterrupted run.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    empty = root / "empty.db"
    prepare_store(f"sqlite:///{empty}")
    trials = [trial for trial in make_trials(root) if not names or trial.name in names]
    known: dict[str, tuple[dict[str, Any], dict[str, float]]] = {}
    for number, trial in enumerate(trials):
        folder = new_folder(root, number, empty)
        code, seconds = run_once(trial, folder)
        if code != 0:
            raise SystemExit(f"{trial.name} failed when left alone: {folder / 'log.txt'}")
        known[trial.name] = outcome(folder), seconds
        say(f"{trial.name}: " + ", ".join(f"{phase} {value:.2f} s" for phase, value in seconds.items()))
    draw = random.Random(seed)
    done: Counter[str] = Counter()
    number = len(trials)
    while done["kills"] < kills:
        # The phase with the fewest kills comes next, so that short phases are hit as often as long ones.
        trial = trials[number % len(trials)]
        expected, seconds = known[trial.name]
        folder = new_folder(root, number, empty)
        hit = []
        for _ in range(draw.randint(1, 3)):
            phase = min(draw.sample(trial.phases, len(trial.phases)), key=lambda name: done[name])
            signum = draw.choices(list(SIGNALS), [0.7, 0.15, 0.15])[0]
            code = run_once(trial, folder, phase, draw.uniform(0, seconds[phase]), signum)[0]
            if code == 0:  # it finished before the signal came
                break
            if code != SIGNALS[signum]:
                raise SystemExit(f"{trial.name}: exit code {code} after {signal.Signals(signum).name}: {folder}")
            done.update([phase, signal.Signals(signum).name, "kills"])
            hit.append(f"{signal.Signals(signum).name} in {phase}")
            if finished(folder):  # killed after the run was finished: only its figures and cleanup are left
                code = run_once(Trial("sync", ()), folder)[0] or run_once(of_finished(trial, folder), folder)[0]
                break
        else:
            code = run_once(trial, folder)[0]
        if code != 0:
            raise SystemExit(f"{trial.name} did not go on after {hit}: {folder / 'log.txt'}")
        if different := differences(expected, outcome(folder)):
            raise SystemExit(f"{trial.name} after {hit} differs in {', '.join(different)}: {folder}")
        say(f"{done['kills']:4d} kills; {trial.name}: {', '.join(hit) or 'none'}: the same")
        shutil.rmtree(folder)
        number += 1
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="tp1-kills-"))
    print(f"In {root}", flush=True)
    began = time.monotonic()
    done = kill_and_resume(options.kills, options.seed, root, lambda line: print(line, flush=True))
    print(json.dumps(done), f"{time.monotonic() - began:.0f} s, all the same")
    shutil.rmtree(root)


if __name__ == "__main__":
    main()
