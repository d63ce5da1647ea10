"""The address (URI) of a tracking store, and how it is shown."""

import re

from mlflow.store.db.db_types import DATABASE_ENGINES

from tp1.base.errors import TP1Error


def masked(uri: str) -> str:
    """``uri`` without its password, for messages and logs."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", uri)


def is_server(uri: str) -> bool:
    """Whether a tracking store is an MLflow server."""
    return uri.startswith(("http://", "https://"))


def is_database(uri: str) -> bool:
    """Whether a tracking store is a database."""
    return uri.partition("://")[0].partition("+")[0] in DATABASE_ENGINES


def how_to_open(uri: str, page: str = "experiments") -> str:
    """Where to look at ``page`` of the tracking UI in a browser, and how to start the UI if it needs that."""
    if is_server(uri):
        return address(uri, page)
    return f"{address(uri, page)} (start it with: mlflow ui --backend-store-uri {masked(uri)})"


def address(uri: str, page: str) -> str:
    """The address of ``page`` of the tracking UI, without a password."""
    host = masked(uri).rstrip("/") if is_server(uri) else "http://127.0.0.1:5000"
    # Without the last part the UI opens in its view for prompts and traces, which has no place for trained models.
    return f"{host}/#/{page}?workflowType=machine_learning"


def run_page(mlflow_experiment: str, run_id: str) -> str:
    """The page of a run in the tracking UI.

    Args:
        mlflow_experiment: The id of the MLflow experiment that holds it.
    """
    return f"experiments/{mlflow_experiment}/runs/{run_id}"


def quoted(value: str) -> str:
    """A string in MLflow's filter language, which knows no escapes: either kind of quotes, but not both.

    Raises:
        TP1Error: The value has both.
    """
    if "'" in value and '"' in value:
        raise TP1Error(f"{value!r} cannot be searched for: it has both kinds of quotes.")
    return f'"{value}"' if "'" in value else f"'{value}'"
