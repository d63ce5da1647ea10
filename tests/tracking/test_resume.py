"""Runs that are interrupted, left behind, gone on with and given up, as their users see them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

import tp1.preparation
import tp1.run
from tests.conftest import PROJECT, all_runs, invoke
from tp1.tracking.ownership import held
from tp1.tracking.training_run import RunWriter

TRAIN = ("cnn-base", "dataset=digits", "epochs=4", "batch_size=256")


@pytest.fixture
def interrupt(monkeypatch):
    """Interrupts training right after an epoch is logged."""

    def arm(epoch_number: int | None) -> None:
        def log(self, epoch):
            log_epoch(self, epoch)
            if epoch.number == epoch_number:
                raise KeyboardInterrupt

        monkeypatch.setattr(RunWriter, "log_epoch", log)

    log_epoch = RunWriter.log_epoch
    return arm


@pytest.fixture
def killed(store, interrupt):
    """A run that was interrupted after its second epoch."""
    interrupt(2)
    assert invoke(*TRAIN, "seed=3").exit_code == 130
    interrupt(None)
    (run,) = all_runs()
    assert run.info.status == "KILLED"
    return run


def steps(run) -> list[int]:
    return [point.step for point in MlflowClient().get_metric_history(run.info.run_id, "val/loss")]


@pytest.mark.parametrize("how", ["id", "auto"])
def test_a_run_goes_on_where_it_stopped(killed, tmp_path, how):
    assert steps(killed) == [1, 2]
    given = ["cnn-base", f"resume={killed.info.run_id}"] if how == "id" else [*TRAIN, "seed=3", "resume=auto"]
    result = invoke(*given)
    assert result.exit_code == 0, result.output
    assert "Going on from epoch 2 of 4" in result.output
    (run,) = all_runs()
    assert (run.info.run_id, run.info.status) == (killed.info.run_id, "FINISHED")
    assert steps(run) == [1, 2, 3, 4]
    assert run.data.params == killed.data.params
    assert run.data.tags["tp1.remark"] == "Resumed 1 time: its time includes the pauses."
    assert not list((tmp_path / "state" / "runs").iterdir())
    again = invoke(*given[:1], f"resume={killed.info.run_id}")
    assert again.exit_code == 0
    assert "is finished; there is nothing to go on with" in again.output
    for arguments, message in (
        (("cnnv2",), "is one of cnn-base, not of cnnv2: resume it as that."),
        (("cnn-base", "epochs=9"), "epochs=9 is not the run's 4: a resumed run keeps its parameters."),
    ):
        refused = invoke(*arguments, f"resume={killed.info.run_id}")
        assert refused.exit_code == 1
        assert message in refused.stderr
    same = invoke("cnn-base", "learning_rate=1e-3", "epochs=4", f"resume={killed.info.run_id}")
    assert same.exit_code == 0, same.output


def test_figures_that_a_finished_run_lacks_are_drawn(store, image_folder, monkeypatch):
    """As when its process was killed after the result was sent."""
    with monkeypatch.context() as patched:
        patched.setattr("tp1.run.write_figures", lambda *args: (_ for _ in ()).throw(MemoryError))
        assert invoke("cnn-base", f"dataset={image_folder}", "epochs=1").exit_code == 0
    (run,) = all_runs()
    client = MlflowClient()
    names = {item.path for item in client.list_artifacts(run.info.run_id)}
    result = invoke("cnn-base", f"resume={run.info.run_id}")
    assert result.exit_code == 0, result.output
    lacked = {item.path for item in client.list_artifacts(run.info.run_id)} - names
    assert lacked >= {"curves.png", "confusion_matrix.png"}
    assert f"It lacked {', '.join(sorted(lacked))}: drawn now." in result.output
    assert "It lacked" not in invoke("cnn-base", f"resume={run.info.run_id}").output


def test_a_signal_that_compiled_code_turns_into_another_error_is_still_one(store, monkeypatch):
    def load(*args: object, **options: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except KeyboardInterrupt:
            raise ValueError("could not determine the shape of object type") from None

    monkeypatch.setattr("tp1.preparation.load_data", load)
    assert invoke(*TRAIN).exit_code == 143
    (run,) = all_runs()
    assert run.info.status == "KILLED"
    assert "error.txt" not in {item.path for item in MlflowClient().list_artifacts(run.info.run_id)}


@pytest.mark.long
def test_an_epoch_whose_checkpoint_was_lost_is_not_logged_twice(killed, tmp_path):
    newest = max((tmp_path / "state" / "runs" / killed.info.run_id / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-10])
    before = MlflowClient().get_metric_history(killed.info.run_id, "train/loss")
    result = invoke("cnn-base", f"resume={killed.info.run_id}")
    assert result.exit_code == 0, result.output
    assert "Going on from epoch 1 of 4" in result.output
    (run,) = all_runs()
    assert steps(run) == [1, 2, 3, 4]
    after = MlflowClient().get_metric_history(killed.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in after[:2]] == [(point.step, point.value) for point in before]


def test_auto_takes_no_other_configuration_or_seed(killed):
    result = invoke(*TRAIN, "seed=4", "resume=auto")
    assert result.exit_code == 0, result.output
    assert "There is no unfinished run of this configuration and seed" in result.output
    assert {run.info.status for run in all_runs()} == {"KILLED", "FINISHED"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cnn-base", "learning_rate=0.5"], "learning_rate=0.5 is not the run's 0.001: a resumed run keeps"),
        (["cnn-base", "epochs=9"], "epochs=9 is not the run's 4"),
        (["cnnv2"], "is one of cnn-base-s3, not of cnnv2"),
    ],
)
def test_a_changed_parameter_is_refused_by_name(killed, arguments, message):
    result = invoke(*arguments, f"resume={killed.info.run_id}")
    assert result.exit_code == 1
    assert message in result.stderr
    assert MlflowClient().get_run(killed.info.run_id).info.status == "KILLED"


@pytest.mark.parametrize("how", ["id", pytest.param("auto", marks=pytest.mark.long)])
def test_where_auto_means_something_else_the_runs_own_can_be_given(killed, monkeypatch, how):
    own = killed.data.params["precision"]
    other = "fp32" if own == "bf16" else "bf16"
    monkeypatch.setattr("tp1.preparation.choose_precision", lambda name, _: other if name == "auto" else name)
    given = ["cnn-base", f"resume={killed.info.run_id}"] if how == "id" else [*TRAIN, "seed=3", "resume=auto"]
    assert f"precision={other} is not the run's {own}" in (refused := invoke(*given).stderr)
    assert f"Give precision={own}," in refused
    assert "Going on from epoch 2 of 4" in invoke(*given, f"precision={own}").output
    assert [run.info.status for run in all_runs()] == ["FINISHED"]


def test_changed_data_is_refused(store, interrupt, image_folder):
    interrupt(1)
    invoke("cnn-base", f"dataset={image_folder}", "epochs=2", "batch_size=16")
    interrupt(None)
    next(image_folder.glob("a/*.png")).unlink()
    result = invoke("cnn-base", f"resume={all_runs()[0].info.run_id}")
    assert result.exit_code == 1
    assert "the data has changed since it was started" in result.stderr
    (run,) = (run for run in all_runs() if "tp1.model" in run.data.tags)
    assert run.info.status == "KILLED"  # as it was
    assert "tp1.resumed" not in run.data.tags


def test_a_run_that_is_not_here_is_said(store):
    assert "no run 0123 in sqlite" in invoke("cnn-base", "resume=0123").stderr
    other = MlflowClient().create_run("0").info.run_id
    result = invoke("cnn-base", f"resume={other}")
    assert "is RUNNING and has nothing to go on from" in result.stderr


def test_a_run_that_is_being_trained_is_left_alone(killed):
    with held(killed.info.run_id):
        result = invoke("cnn-base", f"resume={killed.info.run_id}")
        assert f"another process is at work on run {killed.info.run_id}" in result.stderr
        assert "another process" in invoke("runs", "--close", killed.info.run_id).stderr


@pytest.mark.long
def test_several_seeds_go_on_too(store, interrupt):
    interrupt(3)
    assert invoke(*TRAIN, "seeds=0,1").exit_code == 130
    interrupt(None)
    result = invoke(*TRAIN, "seeds=0,1", "resume=auto")
    assert result.exit_code == 0, result.output
    assert "Going on from epoch 3 of 4" in result.output
    trained = [run for run in all_runs() if "tp1.model" in run.data.tags]
    assert sorted((run.info.run_name, run.info.status) for run in trained) == [
        ("cnn-base-s0", "FINISHED"),
        ("cnn-base-s1", "FINISHED"),
    ]
    parent = next(run for run in all_runs() if run.info.run_name == "cnn-base-seeds" and run.info.status == "FINISHED")
    assert {run.data.tags["mlflow.parentRunId"] for run in trained} == {parent.info.run_id}
    mean = sum(run.data.metrics["test/accuracy"] for run in trained) / 2
    assert parent.data.metrics["mean/test/accuracy"] == pytest.approx(mean)
    assert parent.data.metrics["n"] == 2


def test_runs_shows_what_was_left_behind_and_closes_it(killed, tmp_path):
    client = MlflowClient()
    client.update_run(killed.info.run_id, "RUNNING")  # as a power cut leaves it
    shown = invoke("runs", "--stale").output
    assert "cnn-base-s3" in shown
    assert "stale" in shown
    assert "epoch 2" in shown
    assert "-P resume=RUN_ID" in shown
    closed = invoke("runs", "--close", killed.info.run_id)
    assert closed.exit_code == 0, closed.output
    assert client.get_run(killed.info.run_id).info.status == "KILLED"
    assert "No unfinished runs." in invoke("runs").output
    assert not list((tmp_path / "state" / "runs").iterdir())


def test_what_a_deleted_run_has_left_is_shown_and_can_be_freed(killed, tmp_path):
    MlflowClient().delete_run(killed.info.run_id)
    shown = invoke("runs").output
    assert "deleted" in shown
    assert killed.info.run_id in shown
    assert "tp1 runs --close RUN_ID" in shown
    assert "No stale runs." in invoke("runs", "--stale").output
    assert invoke("runs", "--close", killed.info.run_id).exit_code == 0
    assert not list((tmp_path / "state" / "runs").iterdir())
    assert "No unfinished runs." in invoke("runs").output


def test_a_run_on_another_machine_is_not_called_stale(store):
    client = MlflowClient()
    client.create_run("0", tags={"tp1.experiment": "cnnv3", "tp1.machine": "elsewhere"}, run_name="cnnv3-s0")
    assert "on elsewhere" in invoke("runs").output
    assert "No stale runs." in invoke("runs", "--stale").output


@pytest.mark.long
def test_a_full_disk_does_not_end_training(store, tmp_path):
    """No file may be larger than 60 kB: a checkpoint does not fit, all else does."""
    limited = (
        "import resource, sys; from experiments.__main__ import main\n"
        "import tp1.training.checkpoints\n"
        "save = tp1.training.checkpoints.Checkpoints.save\n"
        "def limited(self, state):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))\n"
        "    try: return save(self, state)\n"
        "    finally: resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "tp1.training.checkpoints.Checkpoints.save = limited\n"
        "main(sys.argv[1:])"
    )
    process = start_training(tmp_path, sys.executable, "-c", limited, *TRAIN)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "Cannot write a checkpoint" in said
    assert "File too large" in said
    assert all_runs()[0].info.status == "FINISHED"
    assert steps(all_runs()[0]) == [1, 2, 3, 4]


@pytest.mark.long
def test_a_result_that_does_not_fit_the_disk_is_an_error_that_can_be_gone_on_from(store, tmp_path, monkeypatch):
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device", "model")

    with monkeypatch.context() as patched:
        patched.setattr("tp1.run.save_classifier", full)
        result = invoke(*TRAIN)
    assert result.exit_code == 1
    assert "(No space left on device): free some space there" in result.stderr
    (run,) = all_runs()
    assert run.info.status == "FAILED"
    assert not run.outputs.model_outputs
    assert "failed" in invoke("runs").output
    result = invoke("cnn-base", f"resume={run.info.run_id}")
    assert result.exit_code == 0, result.output
    assert "Going on from epoch 4 of 4" in result.output
    assert all_runs()[0].info.status == "FINISHED"


def test_a_cache_that_is_deleted_while_training_goes_on_is_not_missed(store, tmp_path, monkeypatch, image_folder):
    def log(self, epoch):
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        log_epoch(self, epoch)

    log_epoch = RunWriter.log_epoch
    monkeypatch.setattr(RunWriter, "log_epoch", log)
    result = invoke("cnn-base", f"dataset={image_folder}", "epochs=2", "batch_size=16")
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "cache").exists()


def test_a_state_directory_that_cannot_be_written_is_said_at_once(store, tmp_path, monkeypatch):
    (tmp_path / "blocked").write_text("")
    monkeypatch.setenv("TP1_STATE_DIR", str(tmp_path / "blocked"))
    result = invoke(*TRAIN)
    assert result.exit_code == 1
    assert "TP1_STATE_DIR" in result.stderr
    assert all_runs()[0].info.status == "FAILED"
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_clock_that_is_set_back_leaves_a_run_that_ends_after_its_start(store, monkeypatch):
    clock = SetBack()
    monkeypatch.setattr("tp1.training.loop.time", clock)
    monkeypatch.setattr("tp1.tracking.every_run.time", clock)
    assert invoke(*TRAIN).exit_code == 0
    (run,) = all_runs()
    assert run.info.status == "FINISHED"
    assert run.info.end_time >= run.info.start_time
    history = MlflowClient().get_metric_history(run.info.run_id, "train/loss")
    assert [point.step for point in history if point.value == run.data.metrics["train/loss"]] == [4]


class SetBack:
    """A wall clock that loses 1000 seconds each time it is read; others go on."""

    perf_counter = staticmethod(time.perf_counter)

    def __init__(self) -> None:
        self.now = time.time()

    def time(self) -> float:
        self.now -= 1000
        return self.now


def start_training(folder: Path, *command: str) -> subprocess.Popen[str]:
    """A command in a process of its own, with its caches, state and store in ``folder``."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT),
        "PYTHONUNBUFFERED": "1",
    }
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"{text!r} was never said")


LONG = ("dataset=digits", "epochs=4000", "batch_size=64")


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.long)]
)
def test_a_signal_ends_the_batch_keeps_a_checkpoint_and_marks_the_run(store, tmp_path, signum, code):
    process = start_training(tmp_path, sys.executable, "-m", "experiments.cnn_base", *LONG)
    wait_for(process, "epoch    2/4000")
    process.send_signal(signum)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert "Stopped at epoch" in said
    (run,) = all_runs()
    assert run.info.status == "KILLED"
    assert f"Go on with: mlflow run . -e cnn-base -P resume={run.info.run_id}" in said
    (folder,) = (tmp_path / "state" / "runs").iterdir()
    assert 1 <= len(list((folder / "checkpoints").glob("*.safetensors"))) <= 2
    assert steps(run) == list(range(1, steps(run)[-1] + 1))
    assert json.loads((folder / "plan.json").read_text())["config"]["epochs"] == 4000


def test_a_second_signal_stops_at_once(store, tmp_path):
    process = start_training(
        tmp_path,
        sys.executable,
        "-c",
        "import signal, time\nfrom tp1.base.interrupts import deferred, interruptible\n"
        "with interruptible(), deferred():\n    print('ready', flush=True)\n    time.sleep(60)",
    )
    wait_for(process, "ready")
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)  # as mlflow sends it after one Ctrl-C: no second one
    time.sleep(1.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == -signal.SIGINT


@pytest.mark.long
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_a_trainer_whose_launcher_is_gone_stops(store, tmp_path, signum):
    command = ("mlflow", "run", str(PROJECT), "--env-manager", "local", "-e", "cnn-base")
    launcher = start_training(tmp_path, *command, *(part for p in LONG for part in ("-P", p)))
    wait_for(launcher, "epoch    2/4000")
    (trainer,) = psutil.Process(launcher.pid).children(recursive=True)[-1:]
    launcher.send_signal(signum)
    launcher.wait(timeout=20)
    trainer.wait(timeout=30)
    (run,) = all_runs()
    assert run.info.status == "KILLED"
    shown = invoke("runs").output
    assert "killed" in shown
    assert run.info.run_id in shown


@pytest.mark.long
def test_mlflow_run_goes_on_with_a_run_and_points_to_it(killed, tmp_path):
    command = ("mlflow", "run", str(PROJECT), "--env-manager", "local", "-e", "cnn-base")
    process = start_training(tmp_path, *command, "-P", f"resume={killed.info.run_id}")
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    launched, run = all_runs()
    assert (run.info.run_id, run.info.status) == (killed.info.run_id, "FINISHED")
    assert steps(run) == [1, 2, 3, 4]
    assert launched.data.tags["tp1.resumes"] == run.info.run_id
    assert "tp1.model" not in launched.data.tags


def test_a_checkpoint_is_written_within_an_epoch(store, monkeypatch, tmp_path):
    monkeypatch.setattr(tp1.run, "KEEP_SECONDS", 0.0)
    monkeypatch.setattr(tp1.preparation, "evaluate", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    assert invoke(*TRAIN).exit_code == 130
    (folder,) = (tmp_path / "state" / "runs").iterdir()
    assert sorted(path.stem for path in (folder / "checkpoints").iterdir()) == ["000003-000000004", "000004-000000000"]
