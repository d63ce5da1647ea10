"""`torchrun` as users start it: one run, which the first process writes; the end of any process is the end of all."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import psutil
import pytest

from tests.conftest import PROJECT, all_runs, invoke

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node")
QUICK = ("cnn-base", "dataset=digits", "dropout=0", "precision=fp32", "learning_rate=1e-3")
FAILING = """
import os, sys, tp1.run
from tp1.base.errors import TP1Error
from experiments.__main__ import main
def fail(*given, **named):
    raise TP1Error("cannot read /other-machine/x.png.")
if os.environ["RANK"] in os.environ["FAILS"]:
    tp1.run.train = fail
main()
"""
pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(autouse=True)
def environment(store, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))


def torchrun(*arguments: str, processes: int = 2) -> subprocess.CompletedProcess:
    command = (*TORCHRUN, str(processes), *arguments)
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)


def begin(folder: Path, *arguments: str, processes: int = 2) -> tuple[subprocess.Popen, list[psutil.Process]]:
    """Start a run that takes long; once it has done two epochs, return it and its processes by rank."""
    said = folder / "said"
    with said.open("w", encoding="utf-8") as file:
        command = (*TORCHRUN, str(processes), "-m", "experiments", *QUICK, *arguments)
        launcher = subprocess.Popen(command, cwd=PROJECT, stdout=file, stderr=subprocess.STDOUT)
    while "\nepoch" not in said.read_text(encoding="utf-8"):
        assert launcher.poll() is None, said.read_text(encoding="utf-8")
        time.sleep(0.2)
    workers = [one for one in psutil.Process(launcher.pid).children() if "RANK" in one.environ()]
    return launcher, sorted(workers, key=lambda one: int(one.environ()["RANK"]))


def curve(run: mlflow.entities.Run) -> list[float]:
    return [point.value for point in mlflow.MlflowClient().get_metric_history(run.info.run_id, "train/loss")]


def test_it_is_one_run_with_the_curve_of_one_process():
    result = torchrun("-m", "experiments", *QUICK, "epochs=2", "tta=flip")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("Test accuracy") == 2  # with and without views
    assert result.stdout.count("epoch 2/2") == 1
    alone = invoke(*QUICK, "epochs=2", "tta=flip")
    assert alone.exit_code == 0, alone.stderr
    one, two = all_runs()
    assert (two.data.params["processes"], one.data.params.get("processes")) == ("2", None)
    assert curve(two) == pytest.approx(curve(one), rel=1e-4)
    for name in ("test/loss", "test_tta/loss", "best/val_loss"):
        assert two.data.metrics[name] == pytest.approx(one.data.metrics[name], rel=1e-3)
    assert two.info.status == "FINISHED"
    again = torchrun("-m", "experiments", "cnn-base", f"resume={two.info.run_id}")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("is finished; there is nothing to go on with.") == 1


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_all_and_one_process_goes_on(tmp_path, killed):
    launcher, workers = begin(tmp_path, "epochs=300")
    workers[killed].kill()
    began = time.monotonic()
    assert launcher.wait(60) != 0
    assert time.monotonic() - began < 25
    assert not any(one.is_running() for one in workers)
    (run,) = all_runs()
    said = (tmp_path / "said").read_text(encoding="utf-8")
    if killed:  # else nobody is left to say so: as after any kill, the run is found to be stale
        assert run.info.status == "KILLED"
        assert said.count("The run is stopped: another of its processes has ended without a word") == 1
        assert said.count(f"resume={run.info.run_id}") == 1
        error = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/error.txt")
        assert "another of its processes has ended" in error
    before = curve(run)
    assert run.data.params["processes"] == "2"
    result = subprocess.run(
        (sys.executable, "-m", "experiments", "cnn-base", f"resume={run.info.run_id}"),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    (run,) = all_runs()
    assert run.info.status == "FINISHED"
    assert len(curve(run)) == 300
    assert curve(run)[: len(before)] == before


def test_a_signal_stops_all_at_the_same_step_and_more_processes_go_on(tmp_path):
    launcher, _ = begin(tmp_path, "epochs=60", processes=2)
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(60) != 0
    said = (tmp_path / "said").read_text(encoding="utf-8")
    assert "Stopped at epoch " in said
    (run,) = all_runs()
    assert run.info.status == "KILLED"
    result = torchrun("-m", "experiments", "cnn-base", f"resume={run.info.run_id}", processes=3)
    assert result.returncode == 0, result.stderr
    assert "Going on from epoch " in result.stdout
    (run,) = all_runs()
    assert run.info.status == "FINISHED"
    whole = invoke(*QUICK, "epochs=60")
    assert whole.exit_code == 0
    # Rounding grows with the epochs: what is compared is what it learns.
    assert curve(run) == pytest.approx(curve(all_runs()[0]), rel=0.2, abs=0.02)


@pytest.mark.parametrize("fails", ["1", "01"])
def test_what_a_process_cannot_do_is_said_once(tmp_path, monkeypatch, fails):
    script = tmp_path / "failing.py"
    script.write_text(FAILING, encoding="utf-8")
    monkeypatch.setenv("FAILS", fails)
    result = torchrun(str(script), *QUICK, "epochs=2")
    assert result.returncode != 0
    assert (result.stdout + result.stderr).count("cannot read /other-machine/x.png.") == 1
    (run,) = all_runs()
    assert run.info.status == ("KILLED" if fails == "1" else "FAILED")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cnn-base", "dataset=digits", "seeds=0,1"), "torchrun starts 2 processes for one training run"),
        (("cnnv3-configs", "dataset=digits"), "torchrun starts 2 processes for one training run"),
        (("cnn-base", "dataset=digits", "batch_size=3"), "batch_size=3 is less than 2 images for each of 2 processes"),
        (("cnn-base", "dataset=digits", "device=cuda:0"), "each of several processes takes its own"),
        (("cnn-base", "epochs=x"), "'x' is not a valid integer"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(arguments, message):
    result = torchrun("-m", "experiments", *arguments)
    assert result.returncode != 0
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert len(all_runs()) <= 1
    assert os.environ.get("RANK") is None
