"""Accounts on a tracking server that has none."""

from tests.conftest import invoke
from tests.support.faulty_proxy import faulty_proxy
from tests.support.servers import served


def test_a_server_without_accounts_says_so_and_one_that_fails_does_not(store, monkeypatch):
    """A 404 in the address or the text of an error was enough to be taken for a server without accounts."""
    with served(store) as address, faulty_proxy(address) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        result = invoke("account", "eve")
        assert result.exit_code == 1
        assert "has no accounts: it runs without authentication" in result.stderr
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.address)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        proxy.restart(500, at=1)  # the first request asks whether the server is there
        result = invoke("account", "user-404")
        assert result.exit_code == 1
        assert "has no accounts" not in result.stderr
        assert proxy.faults == 1
