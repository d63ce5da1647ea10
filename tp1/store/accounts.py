"""Accounts of a team's tracking server, and what they may change."""

import secrets
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request_safe

from tp1.base.errors import TP1Error, why
from tp1.store.access import refused
from tp1.store.addresses import is_server, masked
from tp1.store.prepare import prepare_store

CREATE = "/api/2.0/mlflow/users/create"
GRANT = "/api/3.0/mlflow/users/permissions/grant"
NO_SUCH_ENDPOINT = ("NOT_FOUND", "ENDPOINT_NOT_FOUND")  # the answer of a server without accounts


def add_account(name: str) -> str:
    """Create an account and return its random password, of which the server stores only a hash.

    Raises:
        TP1Error: The name is taken, or the store in use is not a server with accounts.
        MlflowException: The server refuses: only its administrator may create accounts.
    """
    password = secrets.token_urlsafe(18)
    try:
        # Not sent again: a second request would find the account of the first, whose answer was lost.
        _tell(CREATE, f"{name} cannot be added", {"username": name, "password": password}, max_retries=0)
    except mlflow.MlflowException as error:
        if refused(error):
            raise
        raise TP1Error(
            f"whether the account {name} was made is not known ({why(error)}): look in the server's user page, delete "
            "it there if it was, and repeat."
        ) from error
    return password


def share(name: str, experiment: str | None = None, model: str | None = None, permission: str = "EDIT") -> None:
    """Give an account a permission on another account's experiment or registered model.

    Raises:
        TP1Error: Not exactly one of ``experiment`` and ``model`` is given, the experiment or account does not exist,
            or the store in use is not a server with accounts.
        MlflowException: The server refuses: only the owner and the administrator may share.
    """
    kind, what = "registered_model", model
    if experiment is not None:
        found = MlflowClient(_server()).get_experiment_by_name(experiment)
        if found is None:
            raise TP1Error(f"there is no experiment {experiment}: see the tracking UI.")
        kind, what = "experiment", found.experiment_id
    if what is None or (experiment is not None and model is not None):
        raise TP1Error("give either experiment=NAME or model=NAME.")
    content = {"username": name, "resource_type": kind, "resource_id": what, "permission": permission}
    _tell(GRANT, f"nothing can be shared with {name}", content)


def _server() -> str:
    uri = prepare_store()
    if not is_server(uri):
        raise TP1Error(f"{masked(uri)} has no accounts: set MLFLOW_TRACKING_URI to a team's server.")
    return uri


def _tell(endpoint: str, failure: str, content: dict[str, Any], max_retries: int | None = None) -> None:
    uri = _server()
    try:
        http_request_safe(get_default_host_creds(uri), endpoint, "POST", json=content, max_retries=max_retries)
    except mlflow.MlflowException as error:
        if error.error_code in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise TP1Error(f"{failure}: {why(error)}") from error
        if error.error_code in NO_SUCH_ENDPOINT:
            raise TP1Error(f"{masked(uri)} has no accounts: it runs without authentication.") from error
        raise
