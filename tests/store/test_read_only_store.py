"""A database where nothing can be written is read; where it cannot be, the message says how."""

import re
import sqlite3
from contextlib import closing

import pytest

from tests.conftest import invoke
from tests.support.made_runs import make_run
from tests.support.read_only import read_only
from tp1.base.errors import TP1Error
from tp1.store.prepare import prepare_store
from tp1.store.reader import RunReader


@pytest.fixture
def filled(store, tmp_path):
    """A folder with a database that a process has open; the address of it."""
    make_run("cnnv3")
    return store


def test_a_database_that_is_open_is_read(filled, tmp_path):
    assert (tmp_path / "mlflow.db-wal").stat().st_size
    (tmp_path / ".mlflow.db.lock").unlink(missing_ok=True)
    with read_only(tmp_path):
        assert prepare_store() == filled
        assert len(list(RunReader().find_runs())) == 1
        assert "No unfinished runs." in invoke("runs").output
    assert not (tmp_path / ".mlflow.db.lock").exists()


def test_a_database_that_is_closed_says_how_it_can_be_read(filled, tmp_path, monkeypatch):
    folder = tmp_path / "medium"
    folder.mkdir()
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as opened:
        opened.execute("VACUUM INTO ?", (str(folder / "mlflow.db"),))
    with closing(sqlite3.connect(folder / "mlflow.db")) as copied:
        copied.execute("PRAGMA journal_mode=WAL")
    assert [path.name for path in folder.iterdir()] == ["mlflow.db"]
    with read_only(folder):
        with pytest.raises(TP1Error, match="cannot be opened where nothing can be written") as caught:
            prepare_store(f"sqlite:///{folder}/mlflow.db")
        (uri,) = re.findall("'(sqlite:.*)'", str(caught.value))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert prepare_store() == uri
        assert len(list(RunReader().find_runs())) == 1
    assert [path.name for path in folder.iterdir()] == ["mlflow.db"]


def test_last_writes_are_not_left_out(filled, tmp_path):
    with pytest.raises(TP1Error, match=r"mlflow\.db-wal holds runs that immutable=1 does not show"):
        prepare_store(f"sqlite:///file:{tmp_path}/mlflow.db?immutable=1&uri=true")
