"""Runs read from a database's tables, or from a server's JSON, are those of MLflow's own search."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from mlflow import MlflowClient

from tests.conftest import invoke
from tests.support.made_runs import make_run
from tests.support.servers import served
from tp1.base.errors import TP1Error
from tp1.store import server
from tp1.store.addresses import is_database
from tp1.store.database import DatabaseRuns
from tp1.store.reader import RunReader
from tp1.store.runs import READ_METRICS, READ_TAGS, RunQuery, TrackedRun, images_of, shape_of
from tp1.store.server import ServerRuns


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


def by_mlflow(uri: str, conditions: str) -> list[TrackedRun]:
    """What MLflow's own client finds, newest first."""
    client = MlflowClient(uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = []
    for run in client.search_runs(experiments, conditions, order_by=["start_time DESC"]):
        profiles = [
            item.dataset.profile
            for item in run.inputs.dataset_inputs
            if any((tag.key, tag.value) == ("mlflow.data.context", "training") for tag in item.tags)
        ]
        data = run.data
        found.append(
            TrackedRun(
                run_id=run.info.run_id,
                mlflow_experiment=run.info.experiment_id,
                name=run.info.run_name,
                status=run.info.status,
                start_time=run.info.start_time,
                end_time=run.info.end_time or 0,
                tags={key: data.tags[key] for key in READ_TAGS if key in data.tags},
                params=data.params,
                metrics={key: data.metrics[key] for key in READ_METRICS if key in data.metrics},
                train_images=images_of(profiles[0]) if profiles else 0,
                image_side=shape_of(profiles[0])[1] if profiles else 0,
            )
        )
    return found


def shown(runs: Iterable[TrackedRun]) -> list[str]:
    """Runs as text, in which NaN equals itself; tags, parameters and metrics in any order."""
    return [
        repr(replace(run, **{name: dict(sorted(getattr(run, name).items())) for name in ("tags", "params", "metrics")}))
        for run in runs
    ]


QUERIES = {
    "tags.`tp1.model` != ''": RunQuery(status="FINISHED", has="tp1.model"),
    "tags.`tp1.experiment` = 'cnnv3'": RunQuery(status="FINISHED", tags={"tp1.experiment": "cnnv3"}),
    'tags.`tp1.dataset` = "it\'s"': RunQuery(status="FINISHED", tags={"tp1.dataset": "it's"}),
    "attributes.start_time >= 1700000000002": RunQuery(status="FINISHED", since=1_700_000_000_002),
    "tags.`tp1.experiment` = 'none'": RunQuery(status="FINISHED", tags={"tp1.experiment": "none"}),
}


@pytest.mark.long
def test_a_database_and_a_server_say_what_mlflow_says(many, store, monkeypatch):
    with served(store) as address:
        monkeypatch.setattr(server, "PAGE", 2)  # pages side by side, the last of them beyond the end
        for conditions, query in QUERIES.items():
            expected = shown(by_mlflow(store, f"attributes.status = 'FINISHED' AND {conditions}"))
            assert shown(DatabaseRuns(store).find(query)) == expected, conditions
            assert shown(ServerRuns(address).find(query)) == expected, conditions
        running = RunQuery(status="RUNNING", has="tp1.experiment")
        (found,) = DatabaseRuns(store).find(running)
        assert shown(ServerRuns(address).find(running)) == shown([found])
        assert (found.status, found.end_time) == ("RUNNING", 0)
        ids = RunQuery(run_ids=[found.run_id, "0" * 32])
        assert shown(ServerRuns(address).find(ids)) == shown(DatabaseRuns(store).find(ids)) == shown([found])
        nothing = RunQuery(run_ids=[])
        assert list(ServerRuns(address).find(nothing)) == list(DatabaseRuns(store).find(nothing)) == []


def test_finished_training_runs_are_found(many):
    found = list(RunReader().find_runs())
    assert len(found) == 8
    assert next(run for run in found if run.dataset == "digits").train_images == 1259


def test_a_copy_that_is_not_whole_is_none(store):
    """Its process was killed before it had ended the run."""
    client, run_id = MlflowClient(), make_run()
    client.set_tag(run_id, "tp1.reference", "original")
    assert RunReader().find_copy("original") == run_id
    for status in ("RUNNING", "KILLED"):
        client.update_run(run_id, status)
        assert RunReader().find_copy("original") is None
    client.set_tag(run_id, "tp1.pruned", "3")
    assert RunReader().find_copy("original") == run_id


def test_a_store_of_another_kind_is_refused():
    with pytest.raises(TP1Error, match="runs cannot be read from databricks"):
        RunReader("databricks")


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
        monkeypatch.setattr(server, "VALUES", 3)  # answers that may be cut off are asked for by halves
        halved = RunReader(address).read_histories(ids, metrics)
    assert repr(direct) == repr(over) == repr(halved)


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
