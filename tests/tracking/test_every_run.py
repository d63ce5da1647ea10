"""Where a new run goes."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from mlflow import MlflowClient

from tests.conftest import all_runs, invoke
from tests.support.made_runs import make_run
from tp1.base.errors import TP1Error
from tp1.tracking.every_run import new_run_experiment


def test_several_that_start_at_once_with_a_new_experiment_all_get_it(store, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "new")
    together = Barrier(6, timeout=30)
    get = MlflowClient.get_experiment_by_name
    met = []

    def get_together(self, name):
        found = get(self, name)
        if len(met) < 6:  # all have looked before the first one makes it
            met.append(name)
            together.wait()
        return found

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", get_together)
    with ThreadPoolExecutor(6) as pool:
        ids = set(pool.map(lambda _: new_run_experiment(), range(6)))
    assert len(ids) == 1
    assert len(MlflowClient().search_experiments()) == 2  # and Default


@pytest.mark.parametrize("name", [None, "mine"])
def test_a_deleted_experiment_is_one_line_with_the_command_that_restores_it(store, monkeypatch, name):
    client = MlflowClient()
    experiment_id = client.create_experiment(name or "tp1")
    if name:
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", name)
    client.delete_experiment(experiment_id)
    for command in (("compare",), ("cnn-base", "dataset=digits", "epochs=1"), ("cnn-base", "epochs=x")):
        result = invoke(*command)
        assert result.exit_code == 1
        (line,) = result.stderr.splitlines()
        assert f"the MLflow experiment {name or 'tp1'} is deleted" in line
        assert f"mlflow experiments restore --experiment-id {experiment_id}" in line
    client.restore_experiment(experiment_id)
    assert new_run_experiment() == experiment_id


def test_an_id_that_is_not_there_is_said(store, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "77")
    with pytest.raises(TP1Error, match="there is no MLflow experiment 77: check MLFLOW_EXPERIMENT_ID"):
        new_run_experiment()


def test_new_runs_go_to_tp1_and_those_in_default_are_still_found(store, tmp_path, monkeypatch):
    make_run("cnnv2")  # as before, in Default
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = invoke("compare")
    assert result.exit_code == 0
    assert "cnnv2" in result.output
    (comparison,) = (run for run in all_runs() if run.data.tags["tp1.experiment"] == "compare")
    experiment = MlflowClient().get_experiment(comparison.info.experiment_id)
    assert (experiment.name, experiment.artifact_location) == ("tp1", f"{tmp_path}/mlruns/tp1")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    assert new_run_experiment() == "0"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "named")
    assert MlflowClient().get_experiment(new_run_experiment()).name == "named"
