"""A migration of what is damaged, deleted, under way or of an older MLflow: nothing is lost without a word."""

import shutil
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from mlflow.store.tracking.file_store import FileStore

from tests.conftest import all_runs, copy_database, invoke
from tests.support.made_store import NAME, make_store, seen
from tp1.base.digests import DIGESTS_TAG, as_tag, file_digests
from tp1.base.errors import TP1Error
from tp1.registry.migrate import COPYING_TAG, migrate
from tp1.registry.migrate_source import opened_source
from tp1.registry.versions import find_version
from tp1.store.prepare import prepare_store
from tp1.store.runs import MIGRATED_TAG
from tp1.tracking.ownership import held


@pytest.fixture(scope="module")
def made(tmp_path_factory, empty_database) -> str:
    """A store with runs, a model with recorded digests, and its version; a test puts back what it takes from it."""
    folder = tmp_path_factory.mktemp("source")
    copy_database(empty_database, folder)
    uri = f"sqlite:///{folder}/mlflow.db"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.chdir(folder)
        make_store(trained=False)
        model = find_version(NAME, 1)
        digests = file_digests(files_of_model(uri, model.model_id))
        MlflowClient().set_tag(model.run_id, DIGESTS_TAG, as_tag(digests))
    return uri


@pytest.fixture
def source(made, store) -> str:
    """The store to copy from; the one in use is empty."""
    return made


def files_of_model(uri: str, model_id: str) -> Path:
    return Path(MlflowClient(uri, uri).get_logged_model(model_id).artifact_location)


def run_of(uri: str, name: str) -> mlflow.entities.Run:
    runs = MlflowClient(uri, uri).search_runs(
        [experiment.experiment_id for experiment in MlflowClient(uri, uri).search_experiments()],
        f"attributes.run_name = '{name}'",
    )
    return runs[0]


def outcomes(uri: str) -> dict[str, tuple[str, str]]:
    return {step.what: (step.outcome, step.reason) for step in migrate(uri)}


def test_a_run_or_model_that_lacks_a_file_fails_by_name_and_the_others_arrive(source, store, tmp_path):
    parent, child = run_of(source, "cnnv2-s1"), run_of(source, "cnnv2-s2")
    weights = files_of_model(source, child.outputs.model_outputs[0].model_id) / "data" / "weights"
    table = Path(parent.info.artifact_uri) / "predictions.parquet"
    shutil.move(table, tmp_path / "table")
    shutil.move(weights, tmp_path / "weights")
    try:
        result = invoke("migrate", source)
    finally:
        shutil.move(tmp_path / "weights", weights)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    said = f"run cnnv2-s1  failed: run {parent.info.run_id} lacks its file predictions.parquet in {table.parent}"
    assert any(line.startswith(said) for line in lines), lines
    (line,) = (line for line in lines if line.startswith("run cnnv2-s2  failed: model m-"))
    assert "lacks its file data/weights" in line
    assert f"{NAME} version 1  failed: its logged model was not copied" in lines
    assert "1 copied, 0 there already, 3 left, 3 failed." in lines
    assert [(run.info.run_name, run.info.status) for run in all_runs()] == [("failed", "FAILED")]
    assert find_version(NAME, 1) is None
    # The child arrives before its parent; once that has arrived, it is its child again.
    assert outcomes(source)["run cnnv2-s2"] == ("copied", "")
    shutil.move(tmp_path / "table", table)
    result = invoke("migrate", source)
    assert result.exit_code == 0, result.output
    runs = {run.info.run_name: run for run in all_runs()}
    assert runs["cnnv2-s2"].data.tags["mlflow.parentRunId"] == runs["cnnv2-s1"].info.run_id
    finished = {run_id: run for run_id, run in seen(source).items() if run["info"][1] != "RUNNING"}
    assert seen(store) == finished
    assert find_version(NAME, "champion").number == 1


def test_files_that_are_others_than_recorded_are_not_copied(source, store):
    child = run_of(source, "cnnv2-s2")
    weights = files_of_model(source, child.outputs.model_outputs[0].model_id) / "data" / "weights"
    content = weights.read_bytes()
    weights.write_bytes(b"others")
    try:
        outcome, reason = outcomes(source)["run cnnv2-s2"]
    finally:
        weights.write_bytes(content)
    assert outcome == "failed"
    assert "data/weights is not the one that was recorded" in reason


def test_a_copy_that_is_under_way_elsewhere_is_left_alone(source, store):
    client = MlflowClient()
    origin = run_of(source, "failed").info.run_id
    another = client.create_run("0", tags={MIGRATED_TAG: "f" * 32}).info.run_id  # from another member's store
    distant = client.create_run("0", tags={MIGRATED_TAG: origin, COPYING_TAG: "another-host"}).info.run_id
    outcome, reason = outcomes(source)["run failed"]
    assert outcome == "left"
    assert reason.startswith(f"another-host has begun to copy it, as run {distant}")
    client.delete_run(distant)
    here = client.create_run("0", tags={MIGRATED_TAG: origin}).info.run_id
    with held(here):
        assert outcomes(source)["run failed"] == (
            "left",
            f"another process is copying it, as run {here}: wait for it, or end it",
        )
    assert outcomes(source)["run failed"] == ("copied", "")  # its process is gone
    ids = {run.info.run_id for run in all_runs()}
    assert another in ids
    assert here not in ids


def test_a_source_is_migrated_by_one_process_at_a_time(source, store):
    with opened_source(source, store):
        result = invoke("migrate", source)
    assert result.exit_code == 1
    assert f"another process is migrating {source}: wait for it, or end it." in result.stderr
    assert all_runs() == []


def test_a_model_that_was_deleted_in_the_source_stays_behind(store, tmp_path, empty_database, monkeypatch):
    client = MlflowClient()
    run_id = client.create_run("0", run_name="with-models").info.run_id
    for name in ("kept", "deleted"):
        model_id = client.create_logged_model("0", name, source_run_id=run_id).model_id
        client.log_outputs(run_id, [LoggedModelOutput(model_id, 0)])
        client.finalize_logged_model(model_id, "READY")
    client.delete_logged_model(model_id)
    client.set_terminated(run_id)
    (tmp_path / "target").mkdir()
    copy_database(empty_database, tmp_path / "target")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'target' / 'mlflow.db'}")
    assert outcomes(store) == {
        "run with-models": ("copied", ""),
        f"model {model_id} of run with-models": ("left", "it is deleted in the source"),
    }
    assert [model.name for model in mlflow.search_logged_models(["0"], output_format="list")] == ["kept"]


def test_a_store_under_another_name_is_the_same_store(source, store, tmp_path, monkeypatch):
    path = Path(source.removeprefix("sqlite:///"))
    (tmp_path / "link.db").symlink_to(path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", source)
    with pytest.raises(TP1Error, match="is the store in use"):
        list(migrate(f"sqlite:///{tmp_path}/link.db"))
    (tmp_path / "copy").mkdir()
    copy_database(path, tmp_path / "copy")  # a server's other names are told by what is in it, as is a copy
    with pytest.raises(TP1Error, match="they are one store, or one is a copy of the other"):
        list(migrate(f"sqlite:///{tmp_path}/copy/mlflow.db"))


@pytest.fixture
def file_store(tmp_path, monkeypatch) -> Path:
    """The folder of a file store, as MLflow 2 left it in a project."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    folder = tmp_path / "project" / "mlruns"
    client = MlflowClient(f"file://{folder}", f"file://{folder}")
    for name in ("one", "two"):
        run_id = client.create_run("0", run_name=name).info.run_id
        client.log_metric(run_id, "loss", 0.5, timestamp=7, step=3)
        client.log_text(run_id, name, "deep/note.txt")
        client.set_terminated(run_id)
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    return folder


@pytest.mark.long
def test_a_file_store_is_said_and_migrated(file_store, monkeypatch):
    monkeypatch.chdir(file_store.parent)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    old = f"{file_store}-old"
    for command in (("store",), ("compare",), ("runs",)):
        result = invoke(*command)
        assert result.exit_code == 1
        (line,) = result.stderr.strip().splitlines()
        assert f"{file_store} is a file store of an older MLflow" in line
        assert f"`mv {file_store} {old}`, then `tp1 migrate {old}`" in line
    with monkeypatch.context() as given:
        given.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file_store.parent}/mlflow.db")
        result = invoke("migrate", "mlruns")  # else the copies' files would go among the originals
        assert f"rename it first (mv {file_store} {old})" in result.stderr
    shutil.move(file_store, old)
    result = invoke("migrate", "mlruns-old")
    assert result.exit_code == 0, result.output
    assert "2 copied, 0 there already, 0 left." in result.output
    assert "0 copied, 2 there already, 0 left." in invoke("migrate", old).output
    shutil.rmtree(old)
    runs = {run.info.run_name: run for run in all_runs()}
    assert set(runs) == {"one", "two"}
    assert runs["one"].data.metrics == {"loss": 0.5}
    assert MlflowClient().list_artifacts(runs["two"].info.run_id, "deep")[0].path == "deep/note.txt"


def test_a_damaged_run_of_a_file_store_is_named(file_store, store):
    folder = next(file_store.glob(f"0/*/{FileStore.META_DATA_FILE_NAME}")).parent
    (folder / "meta.yaml").write_text("{", encoding="utf-8")
    result = invoke("migrate", str(file_store))
    assert result.exit_code == 1
    assert f"{folder}  failed: MLflow cannot read its meta.yaml" in result.output
    assert "1 copied, 0 there already, 0 left, 1 failed." in result.output


def test_what_is_no_store_is_said(store, tmp_path, monkeypatch):
    with pytest.raises(TP1Error, match=f"there is no store of MLflow's in {tmp_path}/mlruns"):
        list(migrate("mlruns"))
    for uri in ("mlruns", f"file://{tmp_path}/mlruns"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(TP1Error, match=f"{tmp_path}/mlruns is a file store .*: set MLFLOW_TRACKING_URI to one"):
            prepare_store()
