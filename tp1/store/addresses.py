"""Addresses (URIs) of tracking stores and of pages in the tracking UI."""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri
from sqlalchemy.engine import make_url

from tp1.base.errors import TP1Error


def masked(uri: str) -> str:
    """``uri`` without the secrets in it, for messages and logs: a password, a token, the values of a query.

    A secret may hold ``/``, ``@`` or ``:``. An address that could be read in two ways is not shown behind its scheme.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    secret, at, place = ("", "", rest) if rest.startswith("/") else rest.rpartition("@")  # sqlite:///: a path alone
    if "?" in secret:  # a password with a question mark in it, or a query with an @ in it
        return f"{scheme}://***"
    place, question, query = place.partition("?")
    user, colon, _ = secret.partition(":")
    shown = f"{user}:***" if colon else "***" if at and is_server(uri) else user
    names = "&".join(f"{part.partition('=')[0]}=***" for part in query.split("&"))
    return f"{scheme}://{shown}{at}{place}{question}{names if question else ''}"


def masked_text(text: str) -> str:
    """A text without the secrets in the addresses in it."""
    return re.sub(r"[A-Za-z][\w+.-]*://[^\s'\"<>]+", lambda found: masked(found[0]), text)


def is_server(uri: str) -> bool:
    """Whether a tracking store is an MLflow server."""
    return uri.startswith(("http://", "https://"))


def is_database(uri: str) -> bool:
    """Whether a tracking store is a database."""
    return uri.partition("://")[0].partition("+")[0] in DATABASE_ENGINES


def is_sqlite(uri: str) -> bool:
    """Whether a tracking store is an SQLite database."""
    return uri.partition(":")[0].partition("+")[0] == "sqlite"


def is_file_uri(uri: str) -> bool:
    """Whether the address of an SQLite database is a URI of SQLite's own, which also says how to open the file."""
    return (make_url(uri).database or "").startswith("file:")


def is_of_this_machine(uri: str) -> bool:
    """Whether the address means this machine's own store, so that another machine cannot reach it by that."""
    host = urlsplit(uri).hostname or ""
    return is_sqlite(uri) or host in ("localhost", "::1") or host.startswith("127.")


def absolute(uri: str) -> str:
    """Return the address of an SQLite database with its path made absolute; any other address as it is.

    MLflow takes a relative one from wherever a process works at the moment, so that it names several databases.
    """
    scheme, separator, rest = uri.partition("///")
    name, question, query = rest.partition("?")
    if not is_sqlite(uri) or not separator or name.startswith(("/", "file:")) or name in ("", ":memory:"):
        return uri
    folder = str(Path.cwd()).replace("%", "%25").replace("?", "%3F")
    return f"{scheme}{separator}{os.path.normpath(f'{folder}/{name}')}{question}{query}"


def is_same_store(one: str, other: str) -> bool:
    """Whether two addresses are spellings of one: the path of a database may lead through links or be relative."""
    if is_sqlite(one) and is_sqlite(other):
        return sqlite_path(one) == sqlite_path(other)
    return one.rstrip("/") == other.rstrip("/")


def sqlite_path(uri: str) -> Path:
    """Return the file of an SQLite database, absolute, with links followed."""
    return Path((make_url(uri).database or "").removeprefix("file:")).resolve()


def local_path(location: str) -> Path | None:
    """Return the absolute path in a location of files; None for one in a server, in an object store, or of a model."""
    if not is_local_uri(location):
        return None
    path = Path(local_file_uri_to_path(location))
    return path if path.is_absolute() else None


def how_to_open(uri: str, page: str = "experiments") -> str:
    """Return the address of ``page`` of the tracking UI and, for a store without a server, how to start the UI."""
    if is_server(uri):
        return address(uri, page)
    return f"{address(uri, page)} (start it with: mlflow ui --backend-store-uri {masked(uri)})"


def address(uri: str, page: str) -> str:
    """Return the address of ``page`` of the tracking UI, with any password masked."""
    host = masked(uri).rstrip("/") if is_server(uri) else "http://127.0.0.1:5000"
    # Without workflowType the UI opens its view for prompts and traces, which does not show trained models.
    return f"{host}/#/{page}?workflowType=machine_learning"


def run_page(mlflow_experiment: str, run_id: str) -> str:
    """Return the page of a run in the tracking UI, as :func:`address` takes it.

    Args:
        mlflow_experiment: The id of the MLflow experiment that contains the run.
    """
    return f"experiments/{mlflow_experiment}/runs/{run_id}"


def quoted(value: str) -> str:
    """Return a value as a quoted string in MLflow's filter language, which has no escape characters.

    Raises:
        TP1Error: The value contains both single and double quotes.
    """
    if "'" in value and '"' in value:
        raise TP1Error(f"{value!r} cannot be searched for: it has both kinds of quotes.")
    return f'"{value}"' if "'" in value else f"'{value}'"
