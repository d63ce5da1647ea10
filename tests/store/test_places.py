"""A project folder that was moved or copied: one line says what makes its files found; the old one stays gone."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.conftest import copy_database, invoke
from tests.support.made_runs import make_run
from tests.support.made_store import make_store
from tp1.base.errors import TP1Error
from tp1.config import TrainConfig
from tp1.store.places import relocate
from tp1.store.prepare import prepare_store
from tp1.tracking.run_folders import Plan, create_folder, find_folder

LOCATIONS = (
    *("experiments.artifact_location", "runs.artifact_uri", "logged_models.artifact_location"),
    "model_versions.storage_location",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory, empty_database) -> Path:
    folder = tmp_path_factory.mktemp("made")
    copy_database(empty_database, folder)
    with pytest.MonkeyPatch.context() as monkeypatch:
        use(folder, monkeypatch)
        make_store(trained=False)
        make_run("cnnv3", seed=3)
    return folder


@pytest.fixture
def old(made, tmp_path, monkeypatch) -> Path:
    """A project folder with a store that is in use; what is recorded of its runs names it."""
    folder = Path(shutil.copytree(made, tmp_path / "old"))
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        for name in LOCATIONS:
            table, _, column = name.partition(".")
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, '{made}/', '{folder}/')")
    use(folder, monkeypatch)
    return folder


def use(folder: Path, monkeypatch) -> str:
    uri = f"sqlite:///{folder}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(folder)
    return uri


def move(old: Path, monkeypatch) -> Path:
    new = old.with_name("new")
    old.rename(new)
    use(new, monkeypatch)
    return new


def query(folder: Path, statement: str) -> list[tuple]:
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        return connection.execute(statement).fetchall()


def locations(folder: Path) -> list[str]:
    return [row[0] for name in LOCATIONS for row in query(folder, f"SELECT {name} FROM {name.partition('.')[0]}")]


COMMANDS = (
    ("compare",),
    ("report", "to=page"),
    ("predict", "images=x.png", "model=models:/tp1-digits@champion"),
    ("download", "dataset=digits"),
    ("runs",),
    ("store",),
    ("cnn-base", "dataset=digits", "epochs=1"),
)


def test_a_moved_folder_is_said_by_every_command_and_the_old_one_does_not_come_back(old, monkeypatch):
    new = move(old, monkeypatch)
    for command in COMMANDS:
        result = invoke(*command)
        assert result.exit_code == 1, command
        assert f"records the files of its runs in {old}, and they lie in {new}: the folder was moved" in result.stderr
        assert "`tp1 store relocate`" in result.stderr
    assert not old.exists()


def test_relocate_records_the_new_place_and_keeps_a_copy(old, monkeypatch):
    champion = query(old, "SELECT storage_location FROM model_versions")[0][0]
    new = move(old, monkeypatch)
    result = invoke("store", "relocate")
    assert result.exit_code == 0, result.output
    assert f"below {old} are now recorded in {new}; {new}/mlflow.db.before-relocate is the database" in result.output
    assert all(Path(location).is_relative_to(new) for location in locations(new))
    with closing(sqlite3.connect(new / "mlflow.db.before-relocate")) as copy:
        assert (champion,) in copy.execute("SELECT storage_location FROM model_versions").fetchall()
    result = invoke("compare", "against=cnnv2")
    assert result.exit_code == 0, result.output
    assert not old.exists()
    assert "Nothing to relocate" in invoke("store", "relocate").output


def test_a_copy_does_not_use_the_files_of_the_original(old, monkeypatch):
    new = Path(shutil.copytree(old, old.with_name("new")))
    use(new, monkeypatch)
    before = sorted(old.rglob("*"))
    result = invoke("compare")
    assert result.exit_code == 1
    assert "a copy of a folder would read and write the files of the other" in result.stderr
    assert invoke("store", "relocate").exit_code == 0
    assert invoke("compare").exit_code == 0
    assert sorted(old.rglob("*")) == before
    assert all(Path(location).is_relative_to(new) for location in locations(new))


def test_what_lies_in_the_old_place_alone_stays_recorded_there(old, monkeypatch):
    new = Path(shutil.copytree(old, old.with_name("new")))
    uri = use(new, monkeypatch)
    (run_id, location) = query(new, "SELECT run_uuid, artifact_uri FROM runs WHERE name = 'failed'")[0]
    shutil.rmtree(new / "mlruns" / "0" / run_id)
    result = invoke("store", "relocate")
    assert f"1 folders lie there alone, and stay recorded there: {location}" in result.output
    client = MlflowClient()
    assert [file.path for file in client.list_artifacts(run_id, "deep/er")] == ["deep/er/error.txt"]
    assert relocate(uri).copy is None
    assert prepare_store() == uri


def test_a_copy_that_was_cut_off_is_not_relocated(old, monkeypatch):
    new = Path(shutil.copytree(old, old.with_name("new")))
    uri = use(new, monkeypatch)
    lost = next(new.rglob("predictions.parquet"))
    lost.unlink()
    before = locations(new)
    with pytest.raises(
        TP1Error, match=rf"{lost.parent} lacks 1 of the files in .*/old/.*, such as predictions.parquet"
    ):
        relocate(uri)
    assert locations(new) == before
    assert not list(new.glob("*.before-relocate*"))


def test_a_store_without_files_does_not_make_a_folder_that_is_gone(tmp_path, empty_database, monkeypatch):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    copy_database(empty_database, tmp_path / "old")
    shutil.copy(tmp_path / "old" / "mlflow.db", tmp_path / "new")
    uri = use(tmp_path / "new", monkeypatch)
    assert prepare_store() == uri  # the files may be elsewhere on purpose
    shutil.rmtree(tmp_path / "old")
    result = invoke("compare")
    assert f"{tmp_path}/old, a folder that is not there, and new ones would be written there" in result.stderr
    assert not (tmp_path / "old").exists()
    assert invoke("store", "relocate").exit_code == 0
    make_run()
    assert not (tmp_path / "old").exists()
    assert list((tmp_path / "new" / "mlruns").rglob("config.json"))


def test_files_elsewhere_on_purpose_and_links_are_no_move(old, tmp_path, monkeypatch):
    (tmp_path / "databases").mkdir()
    shutil.copy(old / "mlflow.db", tmp_path / "databases")
    assert prepare_store(f"sqlite:///{tmp_path}/databases/mlflow.db")
    (tmp_path / "link").symlink_to(old)
    assert prepare_store(f"sqlite:///{tmp_path}/link/mlflow.db")


def test_another_store_that_was_moved_is_named_with_its_command(old, store, monkeypatch):
    new = old.with_name("new")
    old.rename(new)
    with pytest.raises(TP1Error, match=f"`MLFLOW_TRACKING_URI=sqlite:///{new}/mlflow.db tp1 store relocate`"):
        prepare_store(f"sqlite:///{new}/mlflow.db")


def test_file_addresses_and_older_versions_sources_are_relocated_too(old, monkeypatch):
    with closing(sqlite3.connect(old / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE runs SET artifact_uri = 'file://' || artifact_uri")
        connection.execute("UPDATE model_versions SET source = storage_location")
    new = move(old, monkeypatch)
    assert invoke("store", "relocate").exit_code == 0
    assert all(uri.startswith(f"file://{new}/") for (uri,) in query(new, "SELECT artifact_uri FROM runs"))
    assert query(new, "SELECT source FROM model_versions") == query(new, "SELECT storage_location FROM model_versions")
    assert invoke("compare").exit_code == 0


def test_runs_that_wait_on_this_machine_go_on_in_the_new_place(old, monkeypatch):
    run_id = query(old, "SELECT run_uuid FROM runs WHERE name = 'running'")[0][0]
    create_folder(run_id, Plan("cnnv3", "", TrainConfig(dataset="digits"), "x"), f"sqlite:///{old}/mlflow.db")
    new = move(old, monkeypatch)
    assert invoke("store", "relocate").exit_code == 0
    folder = find_folder(run_id)
    assert folder is not None
    assert folder.store() == f"sqlite:///{new}/mlflow.db"
    assert json.loads((folder.path / "plan.json").read_text(encoding="utf-8"))["experiment"] == "cnnv3"


def test_relocate_needs_a_database_that_is_there(tmp_path, monkeypatch):
    assert "is no SQLite database" in invoke("store", "relocate").stderr
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    assert "there is no database" in invoke("store", "relocate").stderr
    assert not (tmp_path / "none.db").exists()


def test_files_that_are_gone_are_not_called_never_logged(old, monkeypatch):
    """Moved without its database: the folder is not there, and nothing lies beside the database."""
    run_id = make_run("cnnv3", seed=4)
    (old / "mlruns").rename(old / "elsewhere")
    result = invoke("export", run_id, "to=records")
    assert result.exit_code == 1
    assert f"the files of run {run_id} are not in {old}/mlruns/0/{run_id}/artifacts" in result.stderr
    assert "run it again" not in result.stderr
