"""A run has one owner at a time, and it is owned as long as anything may still be sent for it."""

import threading
import time
from collections.abc import Callable

import pytest
from mlflow import MlflowClient

import tp1.tracking.training_run
from tests.conftest import invoke
from tests.support.made_runs import experiment_of
from tp1.base.errors import TP1Error
from tp1.tracking.ownership import held, is_held
from tp1.tracking.run_folders import Plan, run_folder
from tp1.tracking.training_run import training_run


def test_a_run_is_owned_until_its_worker_has_ended():
    may_end = threading.Event()
    worker = threading.Thread(target=may_end.wait, args=(30,))
    worker.start()
    with held("a") as owned:
        owned.keep_for(worker)
    assert is_held("a")
    with pytest.raises(TP1Error, match="another process is at work on run a"), held("a"):
        pass
    may_end.set()
    wait_until_free("a")
    with held("a"):
        pass
    assert not is_held("a")


def test_nobody_else_sends_what_a_run_that_was_given_up_may_still_send(store, monkeypatch):
    """The run has given up waiting for a request; until that is answered, `tp1 sync` must not send the same."""
    may_answer, asked = threading.Event(), threading.Event()
    sent = []
    deliver = tp1.tracking.training_run.deliver

    def slow(client, run_id, entry):
        asked.set()
        may_answer.wait(30)
        sent.append(entry)
        return deliver(client, run_id, entry)

    monkeypatch.setattr(tp1.tracking.training_run, "deliver", slow)
    monkeypatch.setattr(tp1.tracking.training_run, "FAILED_AT_MOST", 0.05)
    run_id = failing_run(lambda: asked.wait(30))
    assert is_held(run_id)
    result = invoke("sync")
    assert result.exit_code == 0, result.output
    assert f"Run {run_id}: another process is at work on it; 2 entries wait there." in result.output
    assert "Nothing waits" not in result.output
    may_answer.set()
    wait_until_free(run_id)
    assert len(sent) == 1  # the thread has ended after the entry that it was at
    result = invoke("sync")
    assert f"Run {run_id}: 1 entries sent; it is FAILED." in result.output
    assert len(MlflowClient().get_metric_history(run_id, "system/cpu")) == 1
    assert not run_folder(run_id).outbox.exists() or not list(run_folder(run_id).outbox.iterdir())


def failing_run(before: Callable[[], object]) -> str:
    writers = []

    def fail() -> None:
        with training_run(Plan("cnn-base", "", experiment_of("cnn-base").config, "")) as writer:
            writers.append(writer)
            writer.log_system_metrics({"system/cpu": 1.0}, 0)
            before()
            raise TP1Error("no luck.")

    with pytest.raises(TP1Error, match="no luck"):
        fail()
    return writers[0].info.run_id


def wait_until_free(run_id: str) -> None:
    until = time.monotonic() + 10
    while is_held(run_id):
        assert time.monotonic() < until
        time.sleep(0.01)
