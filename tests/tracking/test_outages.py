"""A real tracking server that goes away while training goes on, in every way that servers do."""

import signal
import time
from threading import Timer

import mlflow
import pytest
from mlflow import MlflowClient

import tp1.tracking.outbox
import tp1.tracking.training_run
from tests.conftest import all_runs, copy_database, invoke
from tests.support.faulty_proxy import faulty_proxy
from tests.support.servers import TrackingServer
from tp1.tracking.training_run import RunWriter

EPOCHS = 8
TRAIN = ("cnn-base", "dataset=digits", f"epochs={EPOCHS}", "batch_size=256")
EPOCH_METRICS = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "train/images_per_second")


@pytest.fixture(scope="module")
def server(tmp_path_factory, empty_database):
    folder = tmp_path_factory.mktemp("server")
    copy_database(empty_database, folder)
    server = TrackingServer(f"sqlite:///{folder}/mlflow.db", folder / "artifacts")
    server.start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def impatient(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tp1.tracking.outbox, "FIRST_WAIT", 0.1)
    monkeypatch.setattr(tp1.tracking.outbox, "LONGEST_WAIT", 0.5)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")


@pytest.fixture
def at_epoch(monkeypatch):
    """Registers what is to happen right before an epoch is logged."""
    hooks = {}
    log_epoch = RunWriter.log_epoch

    def log(self, epoch):
        if epoch.number in hooks:
            hooks[epoch.number]()
        log_epoch(self, epoch)

    monkeypatch.setattr(RunWriter, "log_epoch", log)
    return hooks


def newest_run():
    return all_runs()[0]


def assert_whole(run) -> None:
    """Every epoch once, everything else there."""
    assert run.info.status == "FINISHED"
    for name in EPOCH_METRICS:
        steps = [point.step for point in MlflowClient().get_metric_history(run.info.run_id, name)]
        assert steps == list(range(1, EPOCHS + 1)), name
    for name in ("test/accuracy", "best/epoch"):
        assert len(MlflowClient().get_metric_history(run.info.run_id, name)) == 1
    names = {item.path for item in MlflowClient().list_artifacts(run.info.run_id)}
    assert {"predictions.parquet", "curves.png", "classification_report.json", "config.json"} <= names
    (output,) = run.outputs.model_outputs
    (model,) = MlflowClient().search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    assert (model.model_id, model.status) == (output.model_id, "READY")
    assert mlflow.pyfunc.load_model(f"models:/{model.model_id}").metadata.run_id == run.info.run_id


@pytest.mark.long
@pytest.mark.parametrize("fault", [500, 503, "reset", "lost answer"])
def test_no_point_is_lost_or_doubled(server, at_epoch, monkeypatch, fault):
    with faulty_proxy(server.address) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.address)
        at_epoch[2] = lambda: setattr(proxy, "fault", fault)
        at_epoch[EPOCHS] = lambda: Timer(0.7, setattr, (proxy, "fault", None)).start()
        result = invoke(*TRAIN)
        assert result.exit_code == 0, result.output
        assert proxy.faults > 1
        assert "The tracking store does not take what is sent" in result.output
        assert "The tracking store answers again" in result.output
        assert_whole(newest_run())


@pytest.mark.long
def test_a_server_that_is_killed_and_comes_back_has_everything(server, at_epoch, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    at_epoch[2] = lambda: server.stop(signal.SIGKILL)
    at_epoch[EPOCHS] = lambda: Timer(0.5, server.start).start()
    result = invoke(*TRAIN)
    assert result.exit_code == 0, result.output
    assert_whole(newest_run())


@pytest.mark.long
def test_training_does_not_wait_for_a_server_that_hangs(server, at_epoch, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    times = {}
    at_epoch[2] = lambda: (server.send(signal.SIGSTOP), times.setdefault("stopped", time.monotonic()))
    at_epoch[EPOCHS] = lambda: (times.setdefault("done", time.monotonic()), server.send(signal.SIGCONT))
    result = invoke(*TRAIN)
    assert result.exit_code == 0, result.output
    assert times["done"] - times["stopped"] < 2 * EPOCHS  # a request alone would have waited for 2 s, or for ever
    assert_whole(newest_run())


@pytest.mark.long
def test_what_could_not_be_sent_is_delivered_later(server, at_epoch, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    monkeypatch.setattr(tp1.tracking.training_run, "PATIENCE", 0.5)
    at_epoch[3] = lambda: server.stop(signal.SIGKILL)
    result = invoke(*TRAIN)
    assert result.exit_code == 0, result.output
    assert "Test accuracy" in result.stdout
    assert "`tp1 sync` sends them when the tracking store is back" in result.stderr
    assert "does not answer" in invoke("sync").stderr
    server.start()
    run = newest_run()
    assert run.info.status == "RUNNING"
    assert not run.outputs.model_outputs
    shown = invoke("runs").output
    assert "unsent" in shown
    assert "--close" not in shown
    refused = invoke("runs", "--close", run.info.run_id)
    assert refused.exit_code == 1
    assert "has results that are not sent yet" in refused.stderr
    assert "tp1 sync" in shown

    result = invoke("sync")
    assert result.exit_code == 0, result.output
    assert "it is FINISHED" in result.output
    assert_whole(newest_run())
    assert newest_run().info.end_time < time.time() * 1000 - 1000  # when it ended, not when it was sent
    assert "Nothing waits to be sent." in invoke("sync").output
    assert "No unfinished runs." in invoke("runs").output
    assert not list((tmp_path / "state" / "runs").iterdir())


@pytest.mark.long
def test_a_mean_over_seeds_waits_for_a_result_that_could_not_be_sent(server, at_epoch, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    monkeypatch.setattr(tp1.tracking.training_run, "PATIENCE", 0.5)

    def away():
        at_epoch.clear()
        server.stop(signal.SIGKILL)
        Timer(10, server.start).start()

    at_epoch[EPOCHS] = away
    result = invoke(*TRAIN, "seeds=0,1")
    assert result.exit_code == 0, result.output
    assert "`tp1 sync` sends them when the tracking store is back" in result.stderr
    parent = next(run for run in all_runs() if run.info.run_name == "cnn-base-seeds")
    assert parent.data.metrics["n"] == 2
    assert not list((tmp_path / "state" / "runs").iterdir())


@pytest.mark.long
def test_a_run_that_the_server_refuses_is_trained_to_its_end_and_kept(server, at_epoch, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    at_epoch[3] = lambda: MlflowClient().delete_run(newest_run().info.run_id)
    result = invoke(*TRAIN)
    assert result.exit_code == 0, result.output
    assert "nothing more is sent now" in result.output
    assert "Test accuracy" in result.output
    (folder,) = (tmp_path / "state" / "runs").iterdir()
    failed = invoke("sync")
    assert failed.exit_code == 1
    assert "is deleted: restore it in the tracking UI" in failed.stderr
    MlflowClient().restore_run(folder.name)
    assert invoke("sync").exit_code == 0
    assert_whole(MlflowClient().get_run(folder.name))


@pytest.mark.long
def test_what_an_interrupted_run_had_to_say_is_kept_too(server, at_epoch, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)

    def stop() -> None:
        server.stop(signal.SIGKILL)
        raise KeyboardInterrupt

    at_epoch[3] = stop
    assert invoke(*TRAIN).exit_code == 130
    at_epoch.clear()  # the resumed run logs that epoch again
    server.start()
    run = newest_run()
    assert run.info.status == "RUNNING"
    result = invoke("cnn-base", f"resume={run.info.run_id}")
    assert result.exit_code == 0, result.output
    assert_whole(newest_run())
