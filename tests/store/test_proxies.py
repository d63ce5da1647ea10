"""A proxy in the environment: local servers are reached without it, and one that is in the way is named."""

import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import requests
from mlflow import MlflowClient, MlflowException

from tests.conftest import invoke
from tp1.base.errors import TP1Error
from tp1.store.access import refused
from tp1.store.prepare import prepare_store
from tp1.store.proxies import reach_local_hosts

SERVER = "http://tracking.example:5000"  # no such name: only a proxy could know it
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Proxy(BaseHTTPRequestHandler):
    """Answers every request with the server's ``status`` and ``text``."""

    def answer(self) -> None:
        self.server.asked.append(self.requestline)
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.text.encode())

    do_GET = do_POST = do_CONNECT = answer  # noqa: N815

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def proxy(monkeypatch) -> Iterator[ThreadingHTTPServer]:
    """A proxy that refuses, in the environment, with an account."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.setenv(name.upper(), "")
        monkeypatch.delenv(name)
        monkeypatch.delenv(name.upper())
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.status, server.text, server.asked = 403, "Access denied.", []
    server.address = f"http://ana:secret@127.0.0.1:{server.server_port}"
    server.shown = f"http://ana:***@127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HTTP_PROXY", server.address)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("status", [403, 404, 407, 502, 503])
def test_a_proxy_that_refuses_is_named(proxy, status):
    proxy.status = status
    with pytest.raises(TP1Error) as caught:
        prepare_store(SERVER)
    line = str(caught.value)
    assert line.startswith(
        f"the tracking server at {SERVER} is asked through the proxy {proxy.shown} (HTTP_PROXY), which "
    )
    assert f"answers {status}" in line
    assert line.endswith("correct HTTP_PROXY, or, to ask the server without a proxy, add tracking.example to NO_PROXY.")
    assert "secret" not in line
    assert proxy.asked


def test_a_proxy_that_is_not_there_is_named(proxy, monkeypatch):
    monkeypatch.setenv("all_proxy", "ana:secret@127.0.0.1:9")
    monkeypatch.delenv("HTTP_PROXY")
    with pytest.raises(TP1Error, match=r"http://ana:\*\*\*@127\.0\.0\.1:9 \(all_proxy\), which does not get through"):
        prepare_store(SERVER)


def test_a_tunnel_that_is_refused_is_named(proxy, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", proxy.address)
    with pytest.raises(
        TP1Error, match=r"\(HTTPS_PROXY\), which does not get through \(.*Tunnel connection failed: 403"
    ):
        prepare_store(SERVER.replace("http:", "https:"))


def test_a_refusal_later_on_is_the_proxy_s_too(proxy, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", SERVER)
    with pytest.raises(MlflowException) as caught:
        MlflowClient().get_run("a")
    assert "is asked through the proxy" in refused(caught.value)


@pytest.mark.parametrize("text", ["Permission denied", '{"error_code": "PERMISSION_DENIED", "message": "no"}'])
def test_what_the_server_refuses_is_the_server_s(proxy, text):
    proxy.text = text
    with pytest.raises(TP1Error, match=r"does not allow .* to do that \(403\): ask the owner"):
        prepare_store(SERVER)
    proxy.status, proxy.text = 401, "You are not authenticated."
    with pytest.raises(TP1Error, match="asks who you are"):
        prepare_store(SERVER)


def test_a_local_server_is_reached_without_it(proxy, monkeypatch):
    """A proxy would look for it on its own machine."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:9")
    assert "the tracking server at http://localhost:9 does not answer" in invoke("runs").stderr
    assert os.environ["NO_PROXY"] == "localhost,127.0.0.1,::1"
    for host in ("localhost", "127.0.0.1", "[::1]"):
        with pytest.raises(requests.ConnectionError):
            requests.get(f"http://{host}:9", timeout=5)
    assert not proxy.asked
    assert requests.get(SERVER, timeout=5).status_code == 403


@pytest.mark.parametrize(
    ("before", "after"),
    [("*", "*"), ("a.example, localhost", "a.example,localhost,127.0.0.1,::1"), ("", "localhost,127.0.0.1,::1")],
)
def test_other_exceptions_stay(proxy, monkeypatch, before, after):
    monkeypatch.setenv("NO_PROXY", before)
    reach_local_hosts()
    assert os.environ["NO_PROXY"] == after
    monkeypatch.setenv("no_proxy", "b.example")  # it counts before the other
    reach_local_hosts()
    assert os.environ["no_proxy"] == "b.example,localhost,127.0.0.1,::1"


def test_without_a_proxy_nothing_changes(proxy, monkeypatch):
    monkeypatch.delenv("HTTP_PROXY")
    reach_local_hosts()
    assert "NO_PROXY" not in os.environ
