"""Any value of a tag or parameter is found by searching, and cut where MLflow takes no more."""

# ruff: noqa: PT017 - some values cannot be searched for, and others can

import mlflow
import pytest
from hypothesis import given
from mlflow import MlflowClient

from tests.support.generated_cases import quick
from tests.support.hostile_texts import TEXT
from tp1.base.errors import TP1Error
from tp1.base.names import LONGEST_PATH
from tp1.config import TrainConfig
from tp1.store.addresses import quoted
from tp1.store.reader import RunReader
from tp1.sweeps.jobs import Outcome, describe_outcomes


def test_searching_for_any_value_finds_it_or_says_why_not(store):
    client = MlflowClient()
    values = {}

    @quick(20)
    @given(TEXT)
    def check(text):
        value = text[:4000]
        if value not in values:
            run = client.create_run("0", tags={"tp1.model": "x", "tp1.dataset": value})
            client.set_terminated(run.info.run_id, "FINISHED")
            values[value] = run.info.run_id
        assert [run.run_id for run in RunReader().find_runs(dataset=value)] == [values[value]]
        try:
            condition = f"tags.`tp1.dataset` = {quoted(value)}"
        except TP1Error as error:
            assert "both kinds of quotes" in str(error)
        else:
            assert [run.info.run_id for run in client.search_runs(["0"], condition)] == [values[value]]

    check()


def test_what_is_longer_than_mlflow_takes_is_cut(store):
    """MLflow's own limits: a parameter of a run may have 6,000 characters and a tag 8,000."""
    with mlflow.start_run() as run:
        mlflow.log_param("dataset", "x" * LONGEST_PATH)
        note = describe_outcomes("x", [Outcome("a", "failed", "é" * 20_000)], "y" * 20_000)
        mlflow.set_tag("mlflow.note.content", note)
    data = MlflowClient().get_run(run.info.run_id).data
    assert data.params["dataset"] == "x" * LONGEST_PATH
    assert len(data.tags["mlflow.note.content"]) == 8000
    with pytest.raises(TP1Error, match="must be text of 1 to 4096 bytes"):
        TrainConfig(dataset="é" * 2049)
