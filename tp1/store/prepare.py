"""Preparing the tracking store: check that it can be used, and let several processes share it."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import mlflow
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
from requests.exceptions import SSLError
from sqlalchemy.exc import SQLAlchemyError

from tp1.base.errors import TP1Error, why
from tp1.base.folders import READ_ONLY
from tp1.base.progress import say
from tp1.store.access import refusal
from tp1.store.addresses import (
    absolute,
    is_database,
    is_file_uri,
    is_same_store,
    is_server,
    is_sqlite,
    masked,
    sqlite_path,
)
from tp1.store.file_stores import file_store_path, refusal_of
from tp1.store.places import find_moves
from tp1.store.proxies import proxy_fault
from tp1.store.schema import check_schema, lock_of

VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
STORE_WAIT = 10.0  # seconds between attempts to reach the store
CONNECT_SECONDS = 5  # for the connection, and again for the answer: an absent server is reported within 10 s


def prepare_store(uri: str | None = None) -> str:
    """Make sure that a tracking store can be used, and return its URI, with the path of a database made absolute.

    An SQLite database is created under a lock, because MLflow's own creation fails if several processes start at
    once. It is put into WAL mode, in which readers and a writer do not block each other.

    Args:
        uri: The store; None for MLflow's choice: ``MLFLOW_TRACKING_URI``, else SQLite in ``mlflow.db`` in the working
            directory.

    Raises:
        TP1Error: The server does not answer or refuses; or the database cannot be opened, is of another MLflow, or its
            folder was moved.
    """
    uri = absolute(uri) if uri else store_in_use()
    if is_sqlite(uri):
        open_sqlite(uri)
        _check_places(uri)
    elif is_server(uri):
        _check_server(uri)
    elif is_database(uri):
        check_schema(uri, "")
    elif (folder := file_store_path(uri)) is not None:
        raise TP1Error(refusal_of(folder))
    return uri


def existing_store(uri: str | None) -> str:
    """Do the same for a store that is only read: a database that is named is not created, for the name is mistyped.

    Raises:
        TP1Error: There is no such database, or it cannot be used.
    """
    if uri and is_sqlite(uri) and not sqlite_path(absolute(uri)).is_file():
        raise TP1Error(f"there is no database {sqlite_path(absolute(uri))}: check the address.")
    return prepare_store(uri)


def store_in_use() -> str:
    """Return the URI of the store in use, with the path of a database made absolute, for MLflow and children too."""
    for name in VARIABLES:
        if uri := os.environ.get(name):
            os.environ[name] = absolute(uri)
    return str(mlflow.get_tracking_uri())


def wait_for_store(patience: float) -> None:
    """Wait until the tracking store in use answers, so that an outage of minutes does not end work of hours.

    Args:
        patience: Seconds to wait at most.

    Raises:
        TP1Error: The store did not answer in that time.
    """
    until = time.monotonic() + patience
    told = False
    while True:
        try:
            prepare_store()
            return
        except TP1Error as error:
            if time.monotonic() >= until:
                raise
            if not told:
                say(f"Waiting for the tracking store, {patience / 60:.0f} minutes at most: {error}")
                told = True
            time.sleep(min(STORE_WAIT, max(until - time.monotonic(), 0)))


def open_sqlite(uri: str) -> None:
    """Make sure that an SQLite database can be used, wherever its runs' files are.

    Raises:
        TP1Error: It cannot be opened, or is of another MLflow.
    """
    path, lock = sqlite_path(uri), FileLock(lock_of(uri))
    try:
        if is_file_uri(uri):  # such an address says itself how the file is to be opened
            _check_readable(uri, path)
            return
        try:
            lock.acquire()
        except OSError as error:
            if error.errno not in READ_ONLY or not path.is_file():
                raise
            _check_readable(uri, path)
            return
        check_schema(uri, command_on(uri, "tp1 store upgrade"))
        MlflowClient(uri).search_experiments(max_results=1)  # creates the tables
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
    except (OSError, sqlite3.Error, SQLAlchemyError, mlflow.MlflowException) as error:
        raise TP1Error(f"cannot open the tracking database {path}: {why(error)}") from error
    finally:
        lock.release()


def _check_readable(uri: str, path: Path) -> None:
    """Check that a database can be read where nothing can be written.

    Raises:
        TP1Error: SQLite would have to write a file beside it, or would not see the last writes.
    """
    wal, immutable = path.with_name(f"{path.name}-wal"), "immutable=1" in uri
    if immutable and wal.is_file() and wal.stat().st_size:
        raise TP1Error(f"{wal} holds runs that immutable=1 does not show: leave that out of MLFLOW_TRACKING_URI.")
    options = "mode=ro&immutable=1" if immutable else "mode=ro"
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?{options}", uri=True)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError as error:
        if immutable or wal.exists():
            raise
        raise TP1Error(
            f"the tracking database {path} cannot be opened where nothing can be written ({error}): copy it, or read "
            f"it as it is with MLFLOW_TRACKING_URI='sqlite:///file:{path}?immutable=1&uri=true'."
        ) from error
    MlflowClient(uri).search_experiments(max_results=1)


def command_on(uri: str, command: str) -> str:
    """Return ``command`` as it must be given to work on a store, which may be another than the one in use."""
    return command if is_same_store(uri, mlflow.get_tracking_uri()) else f"MLFLOW_TRACKING_URI={masked(uri)} {command}"


def _check_places(uri: str) -> None:
    for move in find_moves(uri):
        raise TP1Error(move.explain(sqlite_path(uri), command_on(uri, "tp1 store relocate")))


def _check_server(uri: str) -> None:
    """Send a request that needs an account, so that the credentials are checked too."""
    if masked(uri) != uri:
        raise TP1Error(
            f"the address {masked(uri)} holds a password, and MLflow prints addresses: put it into "
            "MLFLOW_TRACKING_PASSWORD, and the name into MLFLOW_TRACKING_USERNAME."
        )
    try:
        answer = http_request(
            get_default_host_creds(uri),
            "/api/2.0/mlflow/experiments/search",
            "GET",
            params={"max_results": 1},
            max_retries=0,
            timeout=CONNECT_SECONDS,
            raise_on_status=False,
        )
    except mlflow.MlflowException as error:
        cause = error.__cause__ or error.__context__ or error
        if isinstance(cause, SSLError):
            raise TP1Error(
                f"the certificate of the tracking server at {masked(uri)} is not trusted here: give its file, or its "
                "authority's, in MLFLOW_TRACKING_SERVER_CERT_PATH."
            ) from error
        if said := proxy_fault(uri, f"does not get through ({why(cause)})"):
            raise TP1Error(said) from error
        raise TP1Error(
            f"the tracking server at {masked(uri)} does not answer ({type(cause).__name__}): start it, or set "
            "MLFLOW_TRACKING_URI to another (unset: SQLite in this folder)."
        ) from error
    if said := refusal(answer.status_code, answer.text, uri):
        raise TP1Error(said)
    if answer.status_code != 200 and (
        said := proxy_fault(uri, f"answers {answer.status_code} {answer.reason}", answer.text)
    ):
        raise TP1Error(said)
    if answer.status_code in (408, 429):
        raise TP1Error(f"{masked(uri)} answers {answer.status_code} {answer.reason}: try again later.")
    if answer.status_code >= 500:
        raise TP1Error(
            f"the tracking server at {masked(uri)} answers {answer.status_code} {answer.reason}: look at its log."
        )
    if answer.status_code != 200:
        raise TP1Error(
            f"{masked(uri)} answers {answer.status_code} {answer.reason}: it is no MLflow tracking server; check "
            "MLFLOW_TRACKING_URI."
        )
