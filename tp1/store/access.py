"""What a tracking server's refusal means: who was refused, and what to do."""

from urllib.parse import urlsplit

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    CUSTOMER_UNAUTHORIZED,
    INVALID_PARAMETER_VALUE,
    PERMISSION_DENIED,
    RESOURCE_DOES_NOT_EXIST,
    UNAUTHENTICATED,
    ErrorCode,
)
from mlflow.utils.credentials import read_mlflow_creds
from requests import HTTPError

from tp1.store.addresses import masked
from tp1.store.proxies import proxy_fault

UNKNOWN = {ErrorCode.Name(code) for code in (UNAUTHENTICATED, CUSTOMER_UNAUTHORIZED)}
FORBIDDEN = ErrorCode.Name(PERMISSION_DENIED)
# Final answers of a store: repeating the request would not help. Other errors (401, 403, 404 of a proxy) may pass.
REFUSALS = {ErrorCode.Name(code) for code in (RESOURCE_DOES_NOT_EXIST, INVALID_PARAMETER_VALUE)}


def refusal(status: int, answer: str, uri: str) -> str:
    """Explain in one line why a server, or the proxy before it, refused a request; empty if it did not.

    Args:
        status: HTTP status of the answer.
        answer: Text of the answer.
        uri: The server's URI.
    """
    if status in (403, 407) and (said := proxy_fault(uri, f"answers {status}", answer)):
        return said
    who = read_mlflow_creds().username
    server = f"the tracking server at {masked(uri)}"
    if status == 401:
        if who is None:
            return (
                f"{server} asks who you are (401): set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or write "
                "both to ~/.mlflow/credentials."
            )
        return (
            f"{server} does not accept the name {who} with this password (401): check MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or ~/.mlflow/credentials."
        )
    if status == 403 and "Invalid Host header" in answer:
        return (
            f"{server} does not answer to the name {urlsplit(uri).netloc.rpartition('@')[2]} (403): use one of its own "
            "names, or have its administrator add this one to TP1_ALLOWED_HOSTS."
        )
    if status == 403:
        return (
            f"{server} does not allow {who or 'you'} to do that (403): ask the owner or an administrator, or work in "
            "an experiment of your own: MLFLOW_EXPERIMENT_NAME=NAME."
        )
    return ""


def refused(error: BaseException) -> str:
    """Return :func:`refusal` for an error raised by MLflow or its file upload; empty for any other error."""
    uri = mlflow.get_tracking_uri()
    if isinstance(error, HTTPError) and error.response is not None:
        return refusal(error.response.status_code, error.response.text, uri)
    if isinstance(error, MlflowException):
        if error.error_code in UNKNOWN:
            return refusal(401, str(error), uri)
        if error.error_code == FORBIDDEN:
            return refusal(403, str(error), uri)
    return ""


def is_refused(error: Exception) -> bool:
    """Whether an error is a final refusal by the store, rather than a failure that may pass."""
    return isinstance(error, MlflowException) and error.error_code in REFUSALS


def is_absent(error: Exception) -> bool:
    """Whether a store has answered that the thing asked for is not there. A proxy's 404 is no such answer."""
    return isinstance(error, MlflowException) and error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST)
