"""Of any library's error, one line says why: never an empty one, never the one before it."""

import traceback

import pytest
import requests
import safetensors
import safetensors.torch
import torch
from botocore.exceptions import ClientError
from mlflow import MlflowClient, MlflowException
from sqlalchemy import create_engine, text

from tp1.base.errors import why


def error_of(body) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        body()
    return caught.value


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError(), "ValueError"),
        (OSError(), "OSError"),
        (ValueError(" \n\n "), "ValueError"),
        (ValueError("\n  it is wrong \nmore"), "it is wrong"),
        (KeyError("config"), "'config' is missing"),
        (RuntimeError("two things:\n\ta is wrong\n\tb too"), "two things: a is wrong"),
        (RuntimeError("it ends here:"), "it ends here:"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (
            ClientError({"Error": {"Code": "403", "Message": "Forbidden"}}, "PutObject"),
            "An error occurred (403) when calling the PutObject operation: Forbidden",
        ),
        (
            requests.ConnectionError(
                "HTTPSConnectionPool(host='a', port=443): Max retries exceeded with url: /b (Caused by "
                "ConnectTimeoutError(<urllib3.connection.HTTPSConnection object at 0x7f00>, "
                "'Connection to a timed out. (connect timeout=5)'))"
            ),
            "a:443: Connection to a timed out. (connect timeout=5)",
        ),
        (
            MlflowException(
                "API request to http://a:5/b failed with exception HTTPConnectionPool(host='a', port=5): Max retries "
                "exceeded with url: /b?c=(d) (Caused by ResponseError('too many 503 error responses'))"
            ),
            "API request to http://a:5/b failed with exception a:5: too many 503 error responses",
        ),
    ],
)
def test_the_line_that_says_why(error, line):
    assert why(error) == line


def test_of_a_database(tmp_path):
    def ask() -> None:
        with create_engine(f"sqlite:///{tmp_path}/a.db").connect() as connection:
            connection.execute(text("SELECT a\nFROM runs"))

    assert why(error_of(ask)) == "(sqlite3.OperationalError) no such table: runs"


def test_of_a_request_and_of_mlflow_s(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    refused = "Failed to establish a new connection: [Errno 111] Connection refused"
    assert why(error_of(lambda: requests.get("http://127.0.0.1:9/a", timeout=5))) == f"127.0.0.1:9: {refused}"
    line = why(error_of(lambda: MlflowClient("http://127.0.0.1:9").get_run("a")))
    assert line.startswith("API request to http://127.0.0.1:9/api/")
    assert line.endswith(f"failed with exception 127.0.0.1:9: {refused}")


def test_of_weights(tmp_path):
    state = {"weight": torch.zeros(2, 2)}
    line = why(error_of(lambda: torch.nn.Linear(2, 2).load_state_dict(state)))
    assert line == 'Error(s) in loading state_dict for Linear: Missing key(s) in state_dict: "bias".'
    (tmp_path / "a.safetensors").write_bytes(b"x")
    error = error_of(lambda: safetensors.torch.load_file(tmp_path / "a.safetensors"))
    assert isinstance(error, safetensors.SafetensorError)
    assert why(error).startswith("Error while deserializing header")


def test_of_an_error_in_another_process():
    """torch puts the whole traceback of a worker into the message."""
    trace = "".join(traceback.format_exception(error_of(lambda: int("x"))))
    error = RuntimeError(f"Caught ValueError in DataLoader worker process 0.\nOriginal {trace}")
    assert why(error) == "ValueError: invalid literal for int() with base 10: 'x'"
