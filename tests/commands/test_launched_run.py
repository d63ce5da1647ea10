"""A run id in the environment: only the run that `mlflow run` has just started is taken."""

import pytest
from mlflow import MlflowClient

from tests.conftest import all_runs, invoke
from tests.support.made_runs import make_run

TRAIN = ("cnn-base", "dataset=digits", "epochs=1", "batch_size=256")


def launched(client: MlflowClient) -> str:
    """A run as `mlflow run` starts it: RUNNING, with the parameters that were given."""
    run_id = client.create_run("0", tags={"mlflow.source.type": "PROJECT"}).info.run_id
    client.log_param(run_id, "epochs", "1")
    return str(run_id)


def test_a_run_that_was_just_started_is_taken(store, monkeypatch):
    run_id = launched(MlflowClient())
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    assert invoke(*TRAIN, "seed=3").exit_code == 0
    (run,) = all_runs()
    assert (run.info.run_id, run.info.run_name, run.info.status) == (run_id, "cnn-base-s3", "FINISHED")


COMMANDS = (
    (*TRAIN, "seed=3"),
    (*TRAIN, "seeds=0,1"),
    ("cnn-base", "lerning_rate=1"),
    ("compare",),
    ("predict", "images=nothing.png", "model=nothing"),
    ("predict", "imagse=nothing.png"),
)


@pytest.mark.parametrize(
    ("state", "arguments"),
    [*(("finished", command) for command in COMMANDS), ("running", COMMANDS[0]), ("deleted", COMMANDS[3])],
    ids=str,
)
def test_any_other_run_is_left_alone(store, monkeypatch, state, arguments):
    client = MlflowClient()
    if state == "running":  # by another process of ours
        run_id = client.create_run("0", tags={"tp1.experiment": "cnnv3"}, run_name="cnnv3-s7").info.run_id
    else:
        run_id = make_run("cnnv3", seed=7)
    if state == "deleted":
        client.delete_run(run_id)
    before = client.get_run(run_id).to_dictionary()
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    result = invoke(*arguments)
    assert result.exit_code != 0
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith(f"Error: MLFLOW_RUN_ID={run_id} in the environment")
    assert line.endswith("Unset the variable.")
    assert client.get_run(run_id).to_dictionary() == before
    assert len(all_runs()) == (0 if state == "deleted" else 1)
