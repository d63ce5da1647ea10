"""What is done with a run whose process is gone while its parent goes on."""

import threading
import time

import mlflow
import pytest
from mlflow import MlflowClient

from tests.support.made_runs import experiment_of
from tests.support.waiting_runs import refuse
from tp1.base.errors import TP1Error
from tp1.store.addresses import masked
from tp1.tracking import lost_runs
from tp1.tracking.lost_runs import end_lost, take_over
from tp1.tracking.outbox import Entry, Outbox
from tp1.tracking.ownership import held
from tp1.tracking.run_folders import Plan, RunFolder, create_folder
from tp1.tracking.tool_run import ToolRun, tool_run

PLAN = Plan("cnn-base", "", experiment_of("cnn-base").config, "")
NAME = PLAN.label


@pytest.fixture
def parent(store) -> ToolRun:
    with tool_run("cnn-base-seeds") as run:
        yield run


def child(parent: ToolRun, name: str = NAME) -> str:
    tags = {"tp1.experiment": "cnn-base", "mlflow.runName": name, "mlflow.parentRunId": parent.info.run_id}
    return MlflowClient().create_run("0", tags=tags).info.run_id


def with_folder(run_id: str, *entries: Entry) -> RunFolder:
    folder = create_folder(run_id, PLAN, masked(mlflow.get_tracking_uri()))
    outbox = Outbox(folder.outbox, refuse, lambda error: True)
    for entry in entries:
        outbox.put(entry)
    outbox.close(patience=0)
    return folder


def status(run_id: str) -> str:
    return mlflow.get_run(run_id).info.status


def test_a_run_that_nobody_owns_any_more_is_ended(parent):
    lost, other = child(parent), child(parent, "cnn-base-s1")
    with held(lost):
        end_lost(parent, NAME)
        assert status(lost) == "RUNNING"
    end_lost(parent, NAME)
    end_lost(parent, "eda-digits")  # there is none
    assert (status(lost), status(other)) == ("KILLED", "RUNNING")


def test_what_is_left_of_a_run_is_gone_on_with(parent):
    assert take_over(parent, NAME) is None
    run_id = child(parent)
    folder = with_folder(run_id)
    taken = take_over(parent, NAME)
    assert taken is not None
    assert (taken[0].run_id, taken[1]) == (run_id, folder)


def test_a_run_that_was_lost_before_it_had_anything_is_ended(parent):
    run_id = child(parent)
    assert take_over(parent, NAME) is None
    assert status(run_id) == "KILLED"


def test_a_run_that_only_had_something_to_send_is_over(parent):
    run_id = child(parent)
    folder = with_folder(run_id, Entry(status="FINISHED", end_time=4_000_000_000_000))
    taken = take_over(parent, NAME)
    assert taken is not None
    assert (taken[0].run_id, taken[0].status, taken[1]) == (run_id, "FINISHED", None)
    assert not folder.is_there


def test_a_process_that_is_not_gone_yet_is_waited_for(parent, monkeypatch):
    run_id = child(parent)
    with_folder(run_id)
    monkeypatch.setattr(lost_runs, "RELEASE_PATIENCE", 0.1)
    with held(run_id), pytest.raises(TP1Error, match=f"another process is still at work on run {run_id}"):
        take_over(parent, NAME)
    monkeypatch.setattr(lost_runs, "RELEASE_PATIENCE", 20.0)
    owned = threading.Event()

    def own() -> None:
        with held(run_id):
            owned.set()
            time.sleep(0.3)

    threading.Thread(target=own).start()
    owned.wait()
    assert take_over(parent, NAME) is not None
