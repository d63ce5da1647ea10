"""Fixtures of the tests of predicting: a model of a real training, in a store and downloaded, and images for it."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import invoke, own_store
from tp1.data.digits import Digits


@pytest.fixture(scope="module")
def trained(tmp_path_factory, empty_database) -> tuple[Path, str]:
    """A folder with a tracking store, and the URI of the model of a short training in it."""
    folder = tmp_path_factory.mktemp("trained")
    with own_store(folder, empty_database):
        result = invoke("cnn-base", "dataset=digits", "epochs=2", "learning_rate=5e-3", "batch_size=32")
        assert result.exit_code == 0, result.output
        found = re.search(r"^Model (models:/m-\w+)$", result.output, re.MULTILINE)
        assert found is not None
        run = re.search(r"runs/(\w+)", result.output)
        assert run is not None
        result = invoke("download", f"run_id={run[1]}", f"to={folder / 'downloaded'}")
        assert result.exit_code == 0, result.output
    return folder, found[1]


@pytest.fixture
def model(trained, tmp_path, monkeypatch) -> str:
    """The model's URI; its store is the active one, and no pickle may be read."""
    folder, uri = trained
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    monkeypatch.chdir(tmp_path)
    return uri


@pytest.fixture
def downloaded(trained, tmp_path, monkeypatch) -> Path:
    """A copy of the downloaded model; there is no tracking store."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(trained[0] / "downloaded", tmp_path / "downloaded"))


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """100 of the images that the model was trained on, and their class numbers."""
    source = Digits()
    listing = source.list()
    images = np.stack([image for _, image in zip(range(100), source.decode(listing), strict=False)])
    return images, listing.labels[:100]


@pytest.fixture
def labelled(tmp_path, digits) -> Path:
    """A folder of class folders."""
    for row, (image, label) in enumerate(zip(*digits, strict=True)):
        (tmp_path / "labelled" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "labelled" / str(label) / f"{row:03d}.png")
    return tmp_path / "labelled"
