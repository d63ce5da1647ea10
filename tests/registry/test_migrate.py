"""One store's runs, models and registry in another: whole, and once however often it is asked for."""

import math
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelInput, LoggedModelOutput, Metric
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from tests.conftest import all_runs, copy_database, invoke
from tests.support.made_store import NAME, make_store, seen
from tests.support.servers import served
from tp1.base.errors import TP1Error
from tp1.registry import copied
from tp1.registry.migrate import migrate
from tp1.registry.versions import find_version
from tp1.store.prepare import prepare_store
from tp1.store.reader import RunReader
from tp1.store.runs import MIGRATED_TAG


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A store with one of everything; a migration does not change it."""
    folder = tmp_path_factory.mktemp("source")
    uri = f"sqlite:///{folder}/mlflow.db"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("TP1_CACHE_DIR", str(folder / "cache"))
        monkeypatch.chdir(folder)
        prepare_store()
        make_store()
    return uri


@pytest.fixture
def empty(tmp_path, empty_database, monkeypatch):
    """An empty SQLite store, in use."""
    copy_database(empty_database, tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    return uri


def finished(uri):
    return {run_id: run for run_id, run in seen(uri).items() if run["info"][1] != "RUNNING"}


def outcomes(steps):
    return {(step.what, step.outcome) for step in steps}


def test_a_store_arrives_whole_and_once(source, empty):
    first = invoke("migrate", source)
    assert first.exit_code == 0, first.output
    assert "run running  left: it is RUNNING" in first.output
    assert "9 copied, 0 there already, 1 left." in first.output
    assert "0 copied, 9 there already, 1 left." in invoke("migrate", source).output
    before, after = finished(source), seen(empty)
    assert before.keys() == after.keys()
    for run_id, run in before.items():
        for key, value in run.items():
            assert value == after[run_id][key], f"{run['info'][0]}: {key}"
    trained = next(run for run in after.values() if run["info"][0] == "cnn-base-s0")
    (model,) = trained["models"]
    assert any("'test/accuracy'" in metric and "'digits-test'" in metric for metric in model[-1])
    runs = {run.info.run_name: run for run in all_runs()}
    assert runs["cnnv2-s2"].data.tags["mlflow.parentRunId"] == runs["cnnv2-s1"].info.run_id
    assert math.isnan(runs["cnnv2-s2"].data.metrics["val/loss"])
    # What works on a store works on its copy: the files are those whose digests were recorded.
    result = invoke("download", "dataset=digits", "version=1", "to=model")
    assert result.exit_code == 0, result.output
    assert "version 1 is champion again" in invoke("rollback", "dataset=digits").output
    assert "already" in invoke("promote", "dataset=digits").output


def test_versions_keep_their_story_where_they_get_other_numbers(source, empty):
    client = MlflowClient()
    mine = client.create_run("0")
    client.create_registered_model(NAME)
    model = client.create_logged_model("0", "mine", source_run_id=mine.info.run_id)
    client.finalize_logged_model(model.model_id, "READY")
    client.create_model_version(NAME, f"models:/{model.model_id}", mine.info.run_id, model_id=model.model_id)
    client.set_registered_model_alias(NAME, "champion", "1")
    found = outcomes(migrate(source))
    assert (f"{NAME}@champion", "left") in found  # a migration deposes nobody
    assert (f"{NAME}@challenger", "copied") in found
    version = find_version(NAME, 3)
    assert (version.tags["tp1.replaced"], version.tags["tp1.against"]) == ("2", "2")
    assert client.get_run(version.tags["tp1.run_id"]).info.run_name == "cnnv2-s2"
    assert version.run_id == version.tags["tp1.run_id"]
    assert find_version(NAME, "challenger").number == 2


def test_parents_and_measured_models_are_found_whatever_began_first(store, empty_database, tmp_path, monkeypatch):
    """A sweep that is gone on with has a parent younger than its trials; an evaluation may lie anywhere."""
    source, client = mlflow.get_tracking_uri(), MlflowClient()
    training = client.create_experiment("training")  # created first, so listed last
    evaluations = client.create_experiment("evaluations")

    def started(place, start):
        return client.create_run(place, start).info.run_id

    trained = started(training, 1000)
    model = client.create_logged_model(training, "model", source_run_id=trained)
    client.log_outputs(trained, [LoggedModelOutput(model.model_id, 0)])
    evaluated = started(evaluations, 2000)
    client.log_inputs(evaluated, models=[LoggedModelInput(model.model_id)])
    client.log_batch(evaluated, [Metric("test/ece", 0.25, 7, 0, model_id=model.model_id)])
    parent = started(training, 3000)
    client.set_tag(trained, "mlflow.parentRunId", parent)
    with TemporaryDirectory() as folder:
        (Path(folder) / "MLmodel").write_text("a: b\n")
        client.log_model_artifacts(model.model_id, folder)
    client.finalize_logged_model(model.model_id, "READY")
    for run_id in (trained, evaluated, parent):
        client.set_terminated(run_id)
    before = seen(source)
    (tmp_path / "other").mkdir()
    copy_database(empty_database, tmp_path / "other")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other/mlflow.db")
    list(migrate(source))
    after = seen(mlflow.get_tracking_uri())
    assert len(before[evaluated]["measured"][0][-1]) == 1
    assert {run_id: after[run_id]["measured"] for run_id in before} == {
        run_id: run["measured"] for run_id, run in before.items()
    }
    copies = {run.data.tags[MIGRATED_TAG]: run for run in all_runs()}
    assert copies[trained].data.tags["mlflow.parentRunId"] == copies[parent].info.run_id
    # An earlier version left the source's id there.
    MlflowClient().set_tag(copies[trained].info.run_id, "mlflow.parentRunId", parent)
    list(migrate(source))
    (again,) = [run for run in all_runs() if run.data.tags[MIGRATED_TAG] == trained]
    assert again.data.tags["mlflow.parentRunId"] == copies[parent].info.run_id


def test_an_interrupted_migration_is_taken_up(source, empty, monkeypatch):
    real = MlflowClient.log_artifacts
    calls = []

    def fails_once(self, run_id, folder, *args):
        calls.append(run_id)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, run_id, folder, *args)

    monkeypatch.setattr(MlflowClient, "log_artifacts", fails_once)
    with pytest.raises(KeyboardInterrupt):
        list(migrate(source))
    assert calls[2] not in {run.info.run_id for run in all_runs()}  # no half of it is left
    # One that was killed leaves its run as it is: RUNNING.
    original = next(run_id for run_id, run in seen(source).items() if run["info"][0] == "cnnv2-s2")
    left = MlflowClient().create_run("0", tags={MIGRATED_TAG: original})
    model = MlflowClient().create_logged_model("0", "m", left.info.run_id, {MIGRATED_TAG: "m-1"})
    found = outcomes(migrate(source))
    assert ("run cnnv2-s2", "copied") in found or ("run cnn-base-s0", "copied") in found
    assert left.info.run_id not in {run.info.run_id for run in all_runs()}
    assert model.model_id not in {m.model_id for m in MlflowClient().search_logged_models(["0"])}
    assert seen(empty) == finished(source)
    assert not {outcome for _, outcome in outcomes(migrate(source))} & {"copied"}


def test_experiments_may_get_a_prefix(source, empty, monkeypatch):
    monkeypatch.setattr(copied, "PAGE", 1)
    list(migrate(source, prefix="ana/"))
    experiments = {experiment.name: experiment for experiment in mlflow.search_experiments()}
    assert set(experiments) == {"Default", "ana/Default", "ana/elsewhere", "ana/tp1"}
    assert experiments["ana/elsewhere"].tags["mlflow.note.content"] == "what it is"


@pytest.mark.long
def test_a_copy_and_its_original_count_as_one(source, empty, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", source)
    run = next(run for run in all_runs() if run.info.run_name == "cnn-base-s0")
    invoke("export", run.info.run_id, f"to={tmp_path}/records")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty)
    list(migrate(source))
    assert RunReader().find_copy(run.info.run_id) not in (None, run.info.run_id)
    assert "0 new reference runs" in invoke("import", f"{tmp_path}/records").output
    originals = [found.original for found in RunReader().find_runs(dataset="digits")]
    assert originals == [run.info.run_id]


def test_what_cannot_be_migrated_is_said(store, tmp_path, monkeypatch):
    with pytest.raises(TP1Error, match="is the store in use"):
        list(migrate(store))
    with pytest.raises(TP1Error, match="there is no database"):
        list(migrate(f"sqlite:///{tmp_path}/none.db"))
    assert not (tmp_path / "none.db").exists()
    assert "does not answer" in invoke("migrate", "http://127.0.0.1:9").output


def test_files_that_cannot_be_read_are_named(source, empty, monkeypatch):
    def fails(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(LocalArtifactRepository, "download_artifacts", fails)
    result = invoke("migrate", source)
    assert result.exit_code == 1
    for name in ("cnn-base-s0", "cnnv2-s1", "cnnv2-s2", "failed"):
        line = rf"^run {name}  failed: cannot read the files of (run|model) .* in .*: .*Permission denied"
        assert re.search(line, result.output, re.MULTILINE), name
    assert "could not be copied, for the reasons above" in result.stderr
    assert [run.info.run_name for run in all_runs()] == ["promote-digits"]  # the only one without files
    assert mlflow.search_logged_models(["0"], output_format="list") == []


@pytest.mark.long
def test_what_a_server_keeps_is_migrated_from_its_address(empty, empty_database, tmp_path, monkeypatch):
    (tmp_path / "source").mkdir()
    copy_database(empty_database, tmp_path / "source")
    with served(f"sqlite:///{tmp_path}/source/mlflow.db") as address:
        client = MlflowClient(address, address)
        run = client.create_run(client.create_experiment("kept"), run_name="kept")
        client.log_text(run.info.run_id, "x" * 100, "a/b.txt")
        client.set_terminated(run.info.run_id)
        assert client.get_run(run.info.run_id).info.artifact_uri.startswith("mlflow-artifacts:")
        (step,) = migrate(f"sqlite:///{tmp_path}/source/mlflow.db")
        assert "a server kept them: migrate from its address" in step.reason
        assert outcomes(migrate(address)) == {("run kept", "copied")}
    assert seen(empty)[run.info.run_id]["files"] == {"a/b.txt": 100}


def test_a_model_whose_name_has_an_apostrophe_arrives(store, tmp_path, empty_database, monkeypatch):
    client = MlflowClient()
    run_id = client.create_run("0").info.run_id
    model_id = client.create_logged_model("0", "model", source_run_id=run_id).model_id
    client.log_outputs(run_id, [LoggedModelOutput(model_id, 0)])
    client.finalize_logged_model(model_id, "READY")
    client.set_terminated(run_id)
    client.create_registered_model("ana's")
    client.create_model_version("ana's", f"models:/{model_id}", run_id, model_id=model_id)
    (tmp_path / "target").mkdir()
    copy_database(empty_database, tmp_path / "target")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'target' / 'mlflow.db'}")
    result = invoke("migrate", store)
    assert result.exit_code == 0, result.output
    assert find_version("ana's", 1) is not None
