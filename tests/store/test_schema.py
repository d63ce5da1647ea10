"""A database of another MLflow or another program is not changed without a word, and an upgrade keeps a copy."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from mlflow import MlflowClient
from mlflow.store.db import utils
from mlflow.store.tracking.dbmodels.initial_models import Base
from sqlalchemy import create_engine

from tests.conftest import copy_database, invoke
from tp1.base.errors import TP1Error
from tp1.store import schema
from tp1.store.prepare import prepare_store

OLD = "bd07f7e963c5"  # of March 2022, MLflow 1.25
RUN = "0" * 32


def use(path: Path, monkeypatch) -> str:
    uri = f"sqlite:///{path}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(path.parent)
    return uri


@pytest.fixture(scope="module")
def old_database(tmp_path_factory) -> Path:
    """A database as an older MLflow made it, with a run."""
    path = tmp_path_factory.mktemp("old") / "mlflow.db"
    engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        config = utils._get_alembic_config(str(engine.url))
        config.attributes["connection"] = connection
        command.upgrade(config, OLD)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage) "
            "VALUES (0, 'Default', ?, 'active')",
            (f"{path.parent}/mlruns/0",),
        )
        connection.execute(
            "INSERT INTO runs "
            "(run_uuid, experiment_id, name, user_id, status, start_time, lifecycle_stage, artifact_uri) "
            "VALUES (?, 0, 'of 2022', 'ana', 'FINISHED', 7, 'active', ?)",
            (RUN, f"{path.parent}/mlruns/0/{RUN}/artifacts"),
        )
    return path


@pytest.fixture
def old(old_database, tmp_path, monkeypatch) -> Path:
    copy_database(old_database, tmp_path)
    use(tmp_path / "mlflow.db", monkeypatch)
    return tmp_path / "mlflow.db"


def content(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_an_older_database_is_upgraded_only_on_request_and_a_copy_is_kept(old):
    before = content(old)
    for arguments in (("compare",), ("runs",), ("store",), ("export", RUN)):
        result = invoke(*arguments)
        assert result.exit_code == 1
        (line,) = result.stderr.strip().splitlines()
        assert f"{old} was written by an older MLflow" in line
        assert "`tp1 store upgrade` keeps a copy" in line
        assert content(old) == before
    result = invoke("store", "upgrade")
    assert result.exit_code == 0, result.output
    assert f"{old}.before-upgrade is the database as it was" in result.output
    assert content(Path(f"{old}.before-upgrade")) == before
    assert MlflowClient().get_run(RUN).info.run_name == "of 2022"
    assert invoke("runs").exit_code == 0
    assert "Nothing to upgrade" in invoke("store", "upgrade").output


def test_an_upgrade_that_fails_leaves_the_database_as_it_was(old, monkeypatch):
    def fails(engine):
        with closing(sqlite3.connect(old)) as connection, connection:
            connection.execute("DROP TABLE metrics")
        raise RuntimeError("the disk is full")

    before = content(old)
    monkeypatch.setattr(utils, "_initialize_tables", fails)
    result = invoke("store", "upgrade")
    assert result.exit_code == 1
    assert f"{old} cannot be upgraded, and is as it was: the disk is full" in result.stderr
    assert content(old) == before


def test_a_newer_database_is_said(store):
    path = Path("mlflow.db").resolve()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    before = content(path)
    for arguments in (("compare",), ("store", "upgrade")):
        result = invoke(*arguments)
        assert result.exit_code == 1
        assert f"{path} was written by a newer MLflow than MLflow" in result.output
    assert content(path) == before


def test_another_programs_database_is_left_alone(tmp_path, monkeypatch):
    path = tmp_path / "photos.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE photos (id INTEGER)")
    use(path, monkeypatch)
    assert "is a database of another program, with the table photos" in invoke("runs").stderr
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("photos",)]


def test_a_database_without_one_of_its_tables_is_damaged(store):
    with closing(sqlite3.connect("mlflow.db")) as connection, connection:
        connection.execute("DROP TABLE trace_metrics")
    with pytest.raises(TP1Error, match=r"mlflow.db is damaged, and lacks the table trace_metrics"):
        prepare_store()


def test_a_creation_that_was_cut_off_is_completed(tmp_path, monkeypatch):
    uri = use(tmp_path / "mlflow.db", monkeypatch)
    engine = create_engine(uri)
    Base.metadata.tables["experiments"].create(engine)
    engine.dispose()
    assert prepare_store() == uri
    assert MlflowClient().get_experiment("0").name == "Default"


def test_a_database_of_another_kind_is_asked_too(old, monkeypatch):
    """As of PostgreSQL, which MLflow would upgrade in place as well; here SQLite stands for it."""
    monkeypatch.setattr(schema, "is_sqlite", lambda uri: False)
    with pytest.raises(TP1Error, match="back it up, then `mlflow db upgrade ADDRESS`"):
        schema.check_schema(f"sqlite:///{old}", "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "mssql+nodriver://host/mlflow")
    with pytest.raises(TP1Error, match="cannot open the tracking database mssql"):
        prepare_store()
