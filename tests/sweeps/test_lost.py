"""Work that is done again after its process was lost: what was finished meanwhile is not trained again."""

import mlflow
import pytest

from tests.support.made_runs import experiment_of, make_run
from tp1.sweeps.training_jobs import _train
from tp1.sweeps.trials import train_trial
from tp1.tracking.run_folders import Plan, TrialOf
from tp1.tracking.tool_run import ToolRun, tool_run

CNNV3 = experiment_of("cnnv3")


def never(*arguments, **options):
    pytest.fail("it trains")


@pytest.fixture
def parent(store, monkeypatch) -> ToolRun:
    monkeypatch.setattr("tp1.run.run", never)
    monkeypatch.setattr("tp1.sweeps.trials.run_trial", never)
    with tool_run("cnnv3-seeds") as run:
        yield run


def test_a_run_that_was_finished_when_its_process_was_lost(parent):
    run_id = make_run("cnnv3", seed=3)
    parent.adopt(run_id)
    line = _train(CNNV3, CNNV3.config.changed(seed=3), "", parent, False, True)
    assert line == f"run {run_id} was finished when its process was lost"


@pytest.mark.parametrize("pruned", [False, True])
def test_a_trial_that_was_over_when_its_process_was_lost(parent, pruned):
    run_id = make_run("cnnv3", accuracy=0.75, name="cnnv3-t4")
    parent.adopt(run_id)
    if pruned:
        mlflow.MlflowClient().set_tag(run_id, "tp1.pruned", "2")
    plan = Plan("cnnv3", "", CNNV3.config, "", TrialOf("digest", 4, ""))
    tried = train_trial(CNNV3, plan, never, "median", None, parent, True)
    assert (tried.number, tried.accuracies, tried.finished) == (4, [0.5, 0.75], None if pruned else 0.75)
    assert tried.line == f"run {run_id} was over when its process was lost"
