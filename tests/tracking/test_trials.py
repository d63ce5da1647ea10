"""Runs as trials of a sweep: a pruned one is over, wherever its process was stopped."""

import mlflow
import pytest
from mlflow import MlflowClient

from tests.conftest import invoke
from tests.support.made_runs import experiment_of
from tests.support.waiting_runs import refuse
from tp1.base.errors import TP1Error
from tp1.store.addresses import masked
from tp1.tracking.outbox import Entry, Outbox
from tp1.tracking.resumption import find_resumable, find_trial, find_unfinished
from tp1.tracking.run_folders import Plan, RunFolder, TrialOf, create_folder

CNN_BASE = experiment_of("cnn-base")
PLACE = TrialOf("digest", 3, "mlflow run . -e sweep")


def trial(*entries: Entry) -> RunFolder:
    """A trial in the store in use and on this machine, with entries in its outbox."""
    tags = {"tp1.experiment": "cnn-base", "tp1.sweep": "digest", "tp1.trial": "3"}
    run_id = MlflowClient().create_run("0", tags=tags).info.run_id
    folder = create_folder(run_id, Plan("cnn-base", "", CNN_BASE.config, "", PLACE), masked(mlflow.get_tracking_uri()))
    outbox = Outbox(folder.outbox, refuse, lambda error: True)
    for entry in entries:
        outbox.put(entry)
    outbox.close(patience=0)
    return folder


def pruned() -> RunFolder:
    return trial(Entry(tags={"tp1.pruned": "2"}, status="KILLED", end_time=1_700_000_001_000))


def test_a_plan_keeps_its_place_in_a_sweep(store):
    plan = trial().plan()
    assert (plan.trial, plan.label) == (PLACE, "cnn-base-t3")


def test_an_unfinished_trial_is_found_by_its_number_alone(store):
    folder = trial()
    assert find_trial("digest", 3) == folder
    assert find_trial("digest", 2) is find_trial("other", 3) is None
    assert find_unfinished(CNN_BASE, CNN_BASE.config) is None


def test_a_pruned_trial_that_waited_to_be_sent_is_over(store):
    folder = pruned()
    assert find_trial("digest", 3) == folder
    assert not folder.is_there
    run = mlflow.get_run(folder.run_id)
    assert (run.info.status, run.data.tags["tp1.pruned"]) == ("KILLED", "2")


def test_sync_ends_a_pruned_trial(store):
    folder = pruned()
    assert "1 entries sent; it is KILLED." in invoke("sync").output
    assert not folder.is_there
    assert "No unfinished runs." in invoke("runs").output


def test_a_pruned_trial_whose_process_ended_before_it_tidied_up_is_over(store):
    folder = trial()
    client = MlflowClient()
    client.set_tag(folder.run_id, "tp1.pruned", "2")
    client.set_terminated(folder.run_id, "KILLED")
    assert "No unfinished runs." in invoke("runs").output
    assert "Nothing waits to be sent." in invoke("sync").output
    assert not folder.is_there


@pytest.mark.parametrize("sent", [False, True])
def test_nobody_goes_on_with_a_pruned_trial(store, sent):
    folder = pruned()
    if sent:
        invoke("sync")
    with pytest.raises(
        TP1Error, match=f"run {folder.run_id} is a trial of a sweep that was stopped early, after epoch 2"
    ):
        find_resumable(CNN_BASE, {}, folder.run_id)
