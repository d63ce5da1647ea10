"""The tracking store is made ready, or one line says within 10 seconds why it cannot be."""

import sqlite3
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
import requests

from tests.conftest import PROJECT, all_runs
from tp1.base.errors import TP1Error
from tp1.store.addresses import how_to_open, masked
from tp1.store.prepare import prepare_store
from tp1.tracking.tool_run import tool_run


def test_the_default_is_sqlite_in_the_working_directory_in_wal_mode(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.chdir(tmp_path)
    assert prepare_store() == f"sqlite:///{tmp_path / 'mlflow.db'}"
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.long
def test_six_processes_that_start_at_the_same_moment_on_an_empty_store_all_finish(tmp_path, monkeypatch):
    """They create its tables, and mark its experiment, at once."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    code = (
        "import sys, mlflow; from tp1.store.prepare import prepare_store\n"
        "from tp1.tracking.tool_run import tool_run\n"
        "print('ready', flush=True); sys.stdin.readline(); prepare_store()\n"
        "with tool_run('x') as run:\n"
        "    for step in range(5): mlflow.MlflowClient().log_metric(run.info.run_id, 'a', step, step=step)\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", code], **pipes) for _ in range(6)]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 6, errors
    runs = all_runs()
    assert [run.info.status for run in runs] == ["FINISHED"] * 6
    assert all(run.data.metrics["a"] == 4 for run in runs)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "http://no-such-host.invalid:5000"])
def test_a_server_that_does_not_answer_is_said_within_10_seconds(monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    start = time.perf_counter()
    with pytest.raises(TP1Error, match=rf"the tracking server at {uri} does not answer"):
        prepare_store()
    assert time.perf_counter() - start < 10


class Silent(BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(8)


class Broken(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(503)

    def log_message(self, *args):
        pass


@pytest.mark.parametrize(
    ("handler", "message"),
    [pytest.param(Silent, "does not answer", marks=pytest.mark.long), (Broken, "answers 503")],
)
def test_a_server_that_hangs_or_fails_is_said_within_10_seconds(monkeypatch, handler, message):
    server = HTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
    start = time.perf_counter()
    try:
        with pytest.raises(TP1Error, match=message):
            prepare_store()
        assert time.perf_counter() - start < 10
    finally:
        server.shutdown()


class Other(BaseHTTPRequestHandler):
    """A web server that is no tracking server, and one that refuses: the status is the path's first part."""

    def do_GET(self):
        self.send_error(int(self.path.split("/")[1]))

    def log_message(self, *args):
        pass


@pytest.mark.parametrize(
    ("status", "name", "message"),
    [
        (404, None, "answers 404 Not Found: it is no MLflow tracking server"),
        (429, None, "answers 429 Too Many Requests: try again later."),
        (401, None, r"asks who you are \(401\): set MLFLOW_TRACKING_USERNAME"),
        (401, "ana", r"does not accept the name ana with this password \(401\)"),
        (403, "ana", r"does not allow ana to do that \(403\)"),
    ],
)
def test_what_a_server_refuses_is_said(monkeypatch, tmp_path, status, name, message):
    monkeypatch.setenv("HOME", str(tmp_path))
    if name:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hidden-password")
    server = HTTPServer(("127.0.0.1", 0), Other)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}/{status}")
    try:
        with pytest.raises(TP1Error, match=message) as raised:
            prepare_store()
        assert "hidden-password" not in str(raised.value)
    finally:
        server.shutdown()


def test_a_certificate_that_is_not_trusted_is_said(monkeypatch):
    def refuse(*args, **kwargs):
        raise requests.exceptions.SSLError("certificate verify failed")

    monkeypatch.setattr(requests.Session, "send", refuse)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://tracking.example.org")
    with pytest.raises(
        TP1Error, match=r"the certificate of .* is not trusted here: .*MLFLOW_TRACKING_SERVER_CERT_PATH"
    ):
        prepare_store()


def test_a_file_that_is_no_database_is_named(tmp_path, monkeypatch):
    (tmp_path / "mlflow.db").write_text("this is no database, but it is long enough to be mistaken for one" * 40)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(TP1Error, match=r"cannot open the tracking database .*/mlflow.db"):
        prepare_store()


def test_passwords_are_not_shown():
    assert masked("http://ana:secret@host:5000") == "http://ana:***@host:5000"
    assert masked("postgresql://tp1:s3cret@db/mlflow") == "postgresql://tp1:***@db/mlflow"
    assert masked("sqlite:////a/b.db") == "sqlite:////a/b.db"
    assert "secret" not in how_to_open("http://ana:secret@host:5000")


def test_a_password_in_an_address_is_refused_and_not_shown(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ana:hidden@127.0.0.1:9")
    with pytest.raises(TP1Error, match="put it into MLFLOW_TRACKING_PASSWORD") as raised:
        prepare_store()
    assert "hidden" not in str(raised.value)


def test_where_to_look_is_said_for_both_kinds_of_store():
    assert how_to_open("http://host:5000/", "runs/1").startswith("http://host:5000/#/runs/1?")
    assert "mlflow ui --backend-store-uri sqlite:///a.db" in how_to_open("sqlite:///a.db")


def test_a_run_whose_error_cannot_be_written_still_ends_as_failed(store, monkeypatch):
    def away(*args: object) -> None:
        raise OSError("away")

    monkeypatch.setattr("mlflow.log_text", away)
    with pytest.raises(TP1Error, match="broken"), tool_run("x", {"tp1.experiment": "x"}):
        raise TP1Error("broken")
    assert [run.info.status for run in all_runs()] == ["FAILED"]
