"""A real MLflow server that can be killed, stopped and started again."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import requests


class TrackingServer:
    """An MLflow server over a store, on a port of its own that it keeps.

    Args:
        artifacts: The folder for what it stores.
    """

    def __init__(self, store_uri: str, artifacts: Path, workers: int = 1) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        options = {
            "--backend-store-uri": store_uri,
            "--artifacts-destination": str(artifacts),
            "--port": str(self.port),
            "--workers": str(workers),
        }
        self.command = [sys.executable, "-m", "mlflow", "server", *(part for item in options.items() for part in item)]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(120):
            try:
                requests.get(f"{self.address}/health", timeout=1).raise_for_status()
                return
            except requests.RequestException:
                time.sleep(0.5)
        raise RuntimeError(f"the server at {self.address} did not start")

    def send(self, signum: int) -> None:
        """Send a signal to the server and its workers."""
        assert self.process is not None
        parent = psutil.Process(self.process.pid)
        for process in [parent, *parent.children(recursive=True)]:
            process.send_signal(signum)

    def stop(self, signum: int = signal.SIGTERM) -> None:
        """End it."""
        if self.process is not None:
            self.send(signum)
            self.process.wait()
            self.process = None


@contextmanager
def served(store_uri: str, artifacts: Path | None = None, workers: int = 1) -> Iterator[str]:
    """A server for the block; its address. What it stores goes to ``mlartifacts`` here, or where ``artifacts`` says."""
    server = TrackingServer(store_uri, artifacts or Path.cwd() / "mlartifacts", workers)
    try:
        server.start()
        yield server.address
    finally:
        server.stop()
