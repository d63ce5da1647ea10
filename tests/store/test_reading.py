"""Runs read from a database's tables, or from a server's JSON, are those of MLflow's own search."""

import pytest
from mlflow import MlflowClient

from tests.conftest import invoke
from tests.support.made_runs import make_run
from tests.support.servers import served
from tp1.store import runs
from tp1.store import server as run_server
from tp1.store.database import images_of, is_database
from tp1.store.runs import RunReader


@pytest.fixture
def many(store) -> None:
    client = MlflowClient()
    elsewhere = client.create_experiment("elsewhere")
    for number, label in enumerate(("cnnv3", "cnnv2", "cnnv3-c2", "fusion")):
        make_run(
            label, seed=number, start=1_700_000_000_000 + number, mlflow_experiment=elsewhere if number % 2 else "0"
        )
    make_run("cnnv3", dataset="it's", name="o'brien \" <b>")
    make_run("cnn-base", without=("test/accuracy",))
    client.log_metric(make_run("cnnv2", seed=5), "val/loss", float("nan"))
    client.delete_run(make_run("cnnv3", seed=8))
    gone = client.create_experiment("gone")
    make_run("cnnv3", seed=9, mlflow_experiment=gone)
    client.delete_experiment(gone)
    client.set_terminated(make_run("cnnv3", seed=10), "FAILED")
    client.create_run("0", tags={"tp1.experiment": "cnnv3"})
    invoke("cnn-base", "dataset=digits", "epochs=1", "seed=3")


@pytest.mark.parametrize(
    "options",
    [{}, {"experiment": "cnnv3"}, {"dataset": "it's"}, {"since": 1_700_000_000_002}, {"experiment": "none"}],
)
def test_the_tables_say_what_the_search_says(many, monkeypatch, options):
    direct = list(RunReader().find_runs(**options))
    monkeypatch.setattr(runs, "is_database", lambda uri: False)
    monkeypatch.setattr(runs, "PAGE", 3)
    searched = list(RunReader().find_runs(**options))
    assert repr(direct) == repr(searched)  # NaN is not itself
    if options == {}:
        assert len(direct) == 8
        assert next(run for run in direct if run.dataset == "digits").train_images == 1259


def test_a_server_says_what_the_search_says(many, store, monkeypatch):
    with served(store) as address:
        monkeypatch.setattr(runs, "PAGE", 2)  # pages side by side, the last of them beyond the end
        over = list(RunReader(address).find_runs())
        monkeypatch.setattr(runs, "is_server", lambda uri: False)
        by_client = list(RunReader(address).find_runs())
    assert repr(over) == repr(by_client) == repr(list(RunReader().find_runs()))


@pytest.mark.long
def test_histories_are_the_same_everywhere(store, monkeypatch):
    client = MlflowClient()
    ids = [make_run("cnnv3"), make_run("cnnv2", without=("val/loss",))]
    for step in (4, 3):  # logged out of order, and one of them not a number
        client.log_metric(ids[0], "val/loss", float("nan") if step == 3 else 0.25, step=step)
    client.log_metric(ids[0], "val/loss", 0.5, timestamp=1, step=4)  # the same epoch again, by an earlier clock
    metrics = ("val/loss", "val/accuracy")
    direct = RunReader().read_histories(ids, metrics)
    assert repr(direct[ids[0]]) == repr({"val/loss": [1.1, 0.6, float("nan"), 0.5, 0.25], "val/accuracy": [0.5, 0.8]})
    assert direct[ids[1]] == {"val/loss": [], "val/accuracy": [0.5, 0.8]}
    with served(store) as address:
        over = RunReader(address).read_histories(ids, metrics)
        monkeypatch.setattr(run_server, "POINTS", 3)  # answers that may be cut off are asked for by halves
        halved = RunReader(address).read_histories(ids, metrics)
    monkeypatch.setattr(runs, "is_database", lambda uri: False)
    by_client = RunReader().read_histories(ids, metrics)
    assert repr(direct) == repr(over) == repr(halved) == repr(by_client)


@pytest.mark.parametrize(
    ("uri", "is_one"),
    [
        ("sqlite:///mlflow.db", True),
        ("postgresql+psycopg2://user@host/db", True),
        ("http://127.0.0.1:5000", False),
        ("databricks", False),
    ],
)
def test_what_a_database_is(uri, is_one):
    assert is_database(uri) == is_one


@pytest.mark.parametrize("profile", [None, "", "[]", '{"features_shape": []}', '{"features_shape": {"a": 1}}', "x"])
def test_a_profile_that_does_not_say_is_zero(profile):
    assert images_of(profile) == 0
