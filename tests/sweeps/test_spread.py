"""Lists of runs over several processes: the results of one after another, and nothing lost or done twice."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import PROJECT, all_runs, copy_database, invoke
from tp1.store.reader import RunReader
from tp1.store.runs import CURVES
from tp1.tracking.run_folders import folders

QUICK = ("cnn-base", "dataset=digits", "batch_size=128")


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "experiments", *arguments],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def lines_of(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    return iter(process.stdout)


def await_epochs(lines: Iterator[str], *names: str) -> list[str]:
    """Read until each of these runs has an epoch."""
    seen: list[str] = []
    while not all(any(line.startswith(f"{name}: epoch") for line in seen) for name in names):
        seen.append(next(lines))
    return seen


def runs_by_name() -> dict[str, list]:
    found: dict[str, list] = {}
    for run in all_runs():
        found.setdefault(run.info.run_name, []).append(run)
    return found


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The worker processes of a command, without multiprocessing's tracker of resources."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_sweep_whose_command_was_killed_goes_on_and_no_trial_is_done_twice(store):
    space = "space=learning_rate=log:1e-4..1e-1,dropout=0.0..0.5"
    arguments = ("sweep", f"experiment={QUICK[0]}", *QUICK[1:], "epochs=4", space, "trials=8", "workers=2")
    process = start(*arguments)
    lines = lines_of(process)
    await_epochs(lines, "cnn-base-t2", "cnn-base-t3")
    workers = workers_of(process)
    process.kill()
    process.wait()
    psutil.wait_procs(workers, 60)
    assert not any(worker.is_running() for worker in workers)
    before = {name: runs for name, runs in runs_by_name().items() if name.startswith("cnn-base-t")}
    over = {
        name: run for name, (run,) in before.items() if run.info.status == "FINISHED" or "tp1.pruned" in run.data.tags
    }
    assert over

    again = invoke(*arguments)
    assert again.exit_code == 0, again.output
    assert f"8 runs, {len(over)} of them finished already" in again.output
    after = {name: runs for name, runs in runs_by_name().items() if name.startswith("cnn-base-t")}
    assert sorted(after) == [f"cnn-base-t{number}" for number in range(8)]
    for name, (run,) in after.items():
        assert run.info.status == "FINISHED" or "tp1.pruned" in run.data.tags
        assert name not in before or before[name][0].info.run_id == run.info.run_id
        assert name not in over or over[name].info.end_time == run.info.end_time
    assert not folders()
    assert not list((Path(os.environ["TP1_STATE_DIR"]) / "sweeps").iterdir())


def curves() -> dict[str, dict[str, list[float]]]:
    """Curves and test figures of the finished runs, by name."""
    runs = list(RunReader().find_runs())
    found = RunReader().read_histories([run.run_id for run in runs], [*CURVES, "test/loss"])
    return {run.name: found[run.run_id] for run in runs}


@pytest.mark.long  # 40 s
@pytest.mark.timeout(400)
def test_two_workers_give_what_one_gives(store, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    arguments = ("cnnv3-configs", "dataset=digits", "epochs=1", "batch_size=256", "configurations=c1,c4", "seeds=0,1")
    for more, folder in ((), "one"), (("workers=2",), "two"):
        (tmp_path / folder).mkdir()
        copy_database(tmp_path / "mlflow.db", tmp_path / folder)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / folder / 'mlflow.db'}")
        process = start(*arguments, *more)
        shown = "".join(lines_of(process))
        assert process.wait() == 0, shown
        if not more:
            expected = curves()
    assert len(expected) == 4
    assert curves() == expected
    assert "cnnv3-c4-s1: epoch 1/1  train loss" in shown
    again = invoke(*arguments, "workers=2")
    assert "4 runs, 4 of them finished already" in again.output


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_killed_worker_and_an_ended_list_go_on_from_their_checkpoints(store):
    arguments = (*QUICK, "epochs=40", "seeds=0,1", "workers=2")
    process = start(*arguments)
    lines = lines_of(process)
    await_epochs(lines, "cnn-base-s0", "cnn-base-s1")
    workers = workers_of(process)
    assert len(workers) == 2
    workers[0].kill()
    told = next(line for line in lines if " failed: " in line)
    assert "failed: its process was killed from outside" in told
    (killed,) = runs_by_name()[told.split()[0]]
    assert killed.info.status == "KILLED"
    other = {"cnn-base-s0": "cnn-base-s1", "cnn-base-s1": "cnn-base-s0"}[told.split()[0]]
    process.send_signal(signal.SIGTERM)
    rest = "".join(lines)
    assert process.wait() == 143
    assert f"{other}: Stopped at epoch" in rest
    assert "leaked" not in rest
    assert not any(worker.is_running() for worker in workers)
    assert {run.info.status for (run,) in runs_by_name().values()} == {"KILLED"}
    assert len(folders()) == 2

    again = subprocess.run(
        [sys.executable, "-m", "experiments", *arguments, "resume=auto"],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stdout + again.stderr
    for name in ("cnn-base-s0", "cnn-base-s1"):
        assert f"{name}: Going on from epoch" in again.stdout
        (run,) = runs_by_name()[name]
        assert run.info.status == "FINISHED"
        curve = RunReader().read_histories([run.info.run_id], ["val/accuracy"])[run.info.run_id]["val/accuracy"]
        assert len(curve) == 40
    assert not folders()
