"""`mlflow models serve` with a model of ours, asked with curl as the documentation does."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import psutil
import pytest
import requests
from PIL import Image

from tests.conftest import PROJECT, invoke
from tp1.data.digits import Digits

PAGE = (PROJECT / "docs" / "how-to" / "use-a-model.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Served:
    """A served model.

    Attributes:
        images: uint8 (3, 32, 32, 3).
        probabilities: float32 (3, 10), of the model in this process.
    """

    address: str
    environment: dict[str, str]
    images: np.ndarray
    probabilities: np.ndarray

    def ask(self, question: object) -> requests.Response:
        return requests.post(f"{self.address}/invocations", json=question, timeout=60)


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", environment["MLFLOW_TRACKING_URI"])
        monkeypatch.setenv("TP1_CACHE_DIR", str(folder / "cache"))
        result = invoke("cnn-base", "dataset=digits", "epochs=1")
        found = re.search(r"^Model (models:/m-\w+)$", result.output, re.MULTILINE)
        assert found is not None, result.output
        source = Digits()
        images = np.stack([image for _, image in zip(range(3), source.decode(source.list()), strict=False)])
        probabilities = mlflow.pyfunc.load_model(found[1]).predict(images)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["mlflow", "models", "serve", "-m", found[1], "--env-manager", "local", "--port", str(port)]
    log = folder / "serve.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
    try:
        address = f"http://127.0.0.1:{port}"
        wait(address, process, log)
        yield Served(address, environment, images, probabilities)
    finally:
        parent = psutil.Process(process.pid)
        everyone = [*parent.children(recursive=True), parent]
        for one in everyone:
            one.terminate()
        process.wait(30)
        _, alive = psutil.wait_procs(everyone, 30)
        for one in alive:
            one.kill()


def wait(address: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(240):
        assert process.poll() is None, log.read_text(encoding="utf-8")
        try:
            requests.get(f"{address}/ping", timeout=2).raise_for_status()
        except requests.RequestException:
            time.sleep(0.5)
        else:
            return
    raise AssertionError(f"it does not answer: {log.read_text(encoding='utf-8')}")


def test_it_answers_with_the_models_own_probabilities(served):
    answer = served.ask({"inputs": served.images.tolist()})
    assert answer.status_code == 200, answer.text
    found = np.array(answer.json()["predictions"])
    np.testing.assert_allclose(found, served.probabilities, atol=1e-6)
    assert len({tuple(row) for row in found.tolist()}) == 3  # each image has an answer of its own


def test_the_command_of_the_readme(served, tmp_path):
    Image.fromarray(served.images[1]).save(tmp_path / "image.png")
    found = re.search(r"mlflow models serve .*?\n(python -c .*?)```", PAGE, re.DOTALL)
    assert found is not None
    command = found[1].replace("http://127.0.0.1:5001", served.address).replace("cat.png", "image.png")
    result = subprocess.run(
        command, shell=True, cwd=tmp_path, env=served.environment, capture_output=True, text=True, check=True
    )
    probabilities = json.loads(result.stdout)["predictions"]
    np.testing.assert_allclose(probabilities, served.probabilities[1:2], atol=1e-6)


def pixels(value: object, height: int = 32, width: int = 32) -> list:
    return [[[[value] * 3] * width] * height]


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ({"inputs": pixels(1, 16, 16)}, "Shape of input (1, 16, 16, 3) does not match expected shape (-1, 32, 32, 3)"),
        ({"inputs": pixels(1)[0]}, "Shape of input (32, 32, 3) does not match expected shape (-1, 32, 32, 3)"),
        ({"inputs": pixels("black")}, "invalid literal for int() with base 10: 'black'"),
        ({"inputs": pixels(256)}, "Python integer 256 out of bounds for uint8"),
        ({"inputs": pixels(-1)}, "Python integer -1 out of bounds for uint8"),
        ({"inputs": "cat.png"}, "Failed to convert data `cat.png` to type `Tensor('uint8', (-1, 32, 32, 3))`"),
        ({"images": pixels(1)}, "The input must be a JSON dictionary with exactly one of the input fields"),
    ],
)
def test_a_wrong_question_is_answered_with_400_and_the_reason(served, question, reason):
    answer = served.ask(question)
    assert answer.status_code == 400
    assert reason in answer.json()["message"]
    assert served.ask({"inputs": served.images.tolist()}).status_code == 200  # and it goes on


def test_the_server_cuts_fractions_off(served):
    """MLflow makes uint8 of the numbers before the model sees them: images of 0 to 1 are black, and no error."""
    answer = served.ask({"inputs": (served.images / 255).tolist()})
    black = served.ask({"inputs": (served.images // 255).tolist()})
    assert answer.status_code == 200
    assert answer.json() == black.json()
