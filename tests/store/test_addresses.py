"""No secret in an address is shown, however it is written; and a relative one names one database."""

import os
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.conftest import invoke
from tp1.base.errors import TP1Error
from tp1.commands import command
from tp1.config import TrainConfig
from tp1.registry.migrate import migrate
from tp1.store.addresses import absolute, masked, masked_text
from tp1.store.prepare import prepare_store
from tp1.tracking.run_folders import Plan, create_folder
from tp1.tracking.unfinished import local_folders

SECRET = "s3/cr@et:x"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        (f"https://ana:{SECRET}@host:5000/path", "https://ana:***@host:5000/path"),
        (f"postgresql+psycopg2://tp1:{SECRET}@db:5432/tp1", "postgresql+psycopg2://tp1:***@db:5432/tp1"),
        ("https://t0ken@host", "https://***@host"),
        ("https://host/?token=t0ken&x=1", "https://host/?token=***&x=***"),
        ("https://host/?mail=t0ken@host", "https://***"),
        ("https://ana:t0ken?@host", "https://***"),
        (f"mysql://tp1:{SECRET}@db/tp1?ssl_key=t0ken", "mysql://tp1:***@db/tp1?ssl_key=***"),
        ("postgresql://tp1@db/tp1", "postgresql://tp1@db/tp1"),
        ("https://host:5000", "https://host:5000"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("mlruns", "mlruns"),
    ],
)
def test_secrets_are_masked(uri, shown):
    assert masked(uri) == shown
    text = masked_text(f"cannot reach '{uri}' (why)")
    assert text == f"cannot reach '{shown}' (why)"
    assert "t0ken" not in text
    assert SECRET not in text


@pytest.mark.parametrize(
    ("uri", "whole"),
    [
        ("sqlite:///mlflow.db", "sqlite:///{}/mlflow.db"),
        ("sqlite:///./a/../mlflow.db", "sqlite:///{}/mlflow.db"),
        ("sqlite+pysqlite:///a b%20.db?timeout=5", "sqlite+pysqlite:///{}/a b%20.db?timeout=5"),
        *(
            (uri, uri)
            for uri in ("sqlite:////x/mlflow.db", "sqlite://", "sqlite:///:memory:", "http://host/sqlite:///x")
        ),
        *((uri, uri) for uri in ("postgresql://ana@host/mlflow", "sqlite:x", "")),
    ],
)
def test_a_relative_address_is_made_absolute(tmp_path, monkeypatch, uri, whole):
    monkeypatch.chdir(tmp_path)
    assert absolute(uri) == whole.format(tmp_path)


def test_a_relative_address_is_one_store_wherever_a_process_goes(store, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    assert prepare_store() == store == os.environ["MLFLOW_TRACKING_URI"]
    assert f"Tracking in {store}" in invoke("runs").output
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert MlflowClient().get_experiment("0").artifact_location == f"{tmp_path}/mlruns/0"
    assert not Path("mlflow.db").exists()
    with pytest.raises(TP1Error, match="is the store in use"):
        list(migrate("sqlite:///../mlflow.db"))


def test_runs_that_wait_under_a_relative_address_are_those_of_the_store(store):
    """As earlier versions wrote it down."""
    create_folder("1" * 32, Plan("cnnv3", "", TrainConfig(), "x"), "sqlite:///mlflow.db")
    assert [folder.run_id for folder in local_folders()] == ["1" * 32]


def test_a_relative_address_of_an_unknown_folder_is_refused(tmp_path, monkeypatch):
    def unknown():
        raise LookupError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "launch_folder", unknown)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    result = invoke("compare")
    assert result.exit_code == 1
    (line,) = result.stderr.strip().splitlines()
    assert "is relative to the folder that mlflow run was started in, which is not known here" in line
    assert not Path("mlflow.db").exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert f"relative paths are in {tmp_path}." in invoke("compare").stderr
