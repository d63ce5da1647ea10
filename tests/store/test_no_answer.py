"""A tracking server that fails is never taken for one that has answered "there is none"."""

from collections.abc import Iterator
from threading import Timer

import mlflow
import pytest
from mlflow import MlflowClient

import tp1.commands.main
import tp1.commands.runs
import tp1.store.prepare
from tests.conftest import copy_database, invoke
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.made_runs import make_run
from tests.support.servers import served
from tests.support.waiting_runs import waiting_run
from tp1.base.errors import TP1Error
from tp1.registry.versions import CHAMPION, find_version, make_champion, register
from tp1.store.reader import RunReader
from tp1.sweeps.jobs import Job, only

NAME = "tp1-digits"


@pytest.fixture(scope="module")
def proxied(tmp_path_factory, empty_database) -> Iterator[FaultyProxy]:
    """A server with a run and a champion behind a proxy."""
    folder = tmp_path_factory.mktemp("server")
    copy_database(empty_database, folder)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.chdir(folder)
        run_id = make_run("cnnv3")
        make_champion(register(NAME, run_id, MlflowClient().create_logged_model("0", name="model").model_id))
    with served(uri) as address, faulty_proxy(address) as proxy:
        yield proxy


@pytest.fixture
def proxy(proxied, monkeypatch) -> FaultyProxy:
    """The same, in use, without a fault, and asked each thing once."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxied.address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    proxied.restart(None)
    return proxied


def test_three_answers_of_502_are_not_no_champion(proxy, monkeypatch):
    """The alias was looked for in the text of the error, and stood in the address that had failed."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    proxy.restart(502)
    for which in (CHAMPION, 1):
        with pytest.raises(mlflow.MlflowException):
            find_version(NAME, which)
    proxy.restart(None)
    assert find_version(NAME, CHAMPION) is not None
    assert find_version(NAME, "nobody") is None
    assert find_version(NAME, 99) is None
    assert find_version("nothing", CHAMPION) is None


def test_a_file_that_cannot_be_read_is_not_one_that_is_not_there(proxy):
    reader = RunReader()
    (run,) = reader.find_runs()
    with pytest.raises(TP1Error, match=r"has no artifact nothing\.txt: it was not logged whole"):
        reader.read_file(run.run_id, "nothing.txt")
    proxy.restart(503)
    with pytest.raises(TP1Error, match=r"cannot read the artifact config\.json of run"):
        reader.read_file(run.run_id, "config.json")


def test_a_server_that_fails_is_not_one_without_accounts(proxy):
    """A 404 anywhere in the text of an error was enough."""
    result = invoke("account", "eve")
    assert result.exit_code == 1
    assert "has no accounts: it runs without authentication" in result.stderr
    proxy.restart(500, at=1)  # the first request asks whether the server is there
    result = invoke("account", "user-404")
    assert result.exit_code == 1
    assert "has no accounts" not in result.stderr
    assert "whether the account user-404 was made is not known" in result.stderr
    assert proxy.faults == 1  # it is not asked twice: the second time would find what the first one made


def test_sync_goes_on_after_a_run_that_is_refused(proxy):
    forbidden, *others = sorted((waiting_run() for _ in range(3)), key=lambda folder: folder.path.stat().st_mtime_ns)
    proxy.restart(403, about=forbidden.run_id)
    result = invoke("sync")
    assert result.exit_code == 1
    for folder in others:
        assert f"Run {folder.run_id}: 2 entries sent; it is FINISHED." in result.stdout
    assert f"Run {forbidden.run_id}: the tracking server at {proxy.address} does not allow" in result.stderr
    assert "1 of 3 runs could not be sent" in result.stderr
    proxy.restart(None)
    assert f"Run {forbidden.run_id}: 2 entries sent" in invoke("sync").stdout


def test_sync_does_not_wait_for_a_store_that_is_away_run_by_run(proxy, monkeypatch):
    folders = [waiting_run() for _ in range(3)]
    real = tp1.commands.runs.send_waiting

    def away(folder, patience):
        proxy.restart("reset")
        return real(folder, patience)

    monkeypatch.setattr(tp1.commands.runs, "send_waiting", away)
    result = invoke("sync")
    assert result.exit_code == 1
    assert f"the tracking server at {proxy.address} does not answer" in result.stderr
    assert proxy.faults == 2  # of one run, and whether the server is there at all
    proxy.restart(None)
    monkeypatch.undo()
    assert all(folder.is_there for folder in folders)


@pytest.mark.long
def test_the_whole_report_waits_for_a_server_that_was_away(proxy, monkeypatch):
    """It goes away at the end of each job: the next job, and the comparison after the last, come when it is back."""
    monkeypatch.setattr(tp1.store.prepare, "STORE_WAIT", 0.05)
    asked = []

    def go_away(again: bool) -> str:
        asked.append(len(list(RunReader().find_runs())))
        proxy.restart("reset")
        Timer(0.5, proxy.restart, (None,)).start()
        return "done"

    def compare(catalog, run) -> list[str]:
        asked.append(len(list(RunReader().find_runs())))
        return []

    looks = lambda dataset, run: Job(f"eda-{dataset}", 1, None, only(go_away))  # noqa: E731
    monkeypatch.setattr(tp1.commands.main, "_look_job", looks)
    monkeypatch.setattr(tp1.commands.main, "compare", compare)
    monkeypatch.setattr(tp1.commands.main, "report", lambda catalog, run, to: [])
    result = invoke("main", "only=eda")
    assert result.exit_code == 0, result.output
    assert len(asked) == 3
    assert result.output.count("Waiting for the tracking store") == 2
