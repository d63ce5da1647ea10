"""The files of a logged model: the exported program, its weights, classes and shape, and no pickle."""

import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus
from mlflow.models import Model
from safetensors import safe_open

from tests.conftest import coloured_images, log_classifier
from tp1.base.digests import file_digests
from tp1.models.classifier import Classifier, Preparation
from tp1.models.cnn import CNNV3
from tp1.registry.stored_models import StoredModel, fetch
from tp1.tracking.model_files import save_classifier, send_model

CLASSES = ("a", "b", "c")


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    net = CNNV3(3, 32, 0.5)
    net(torch.randn(16, 3, 32, 32))  # batch-norm statistics that are not the initial ones
    return Classifier(net, CLASSES, Preparation(32, (0.4, 0.5, 0.6), (0.2, 0.2, 0.2)))


@pytest.fixture
def model(store, classifier, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    with mlflow.start_run():
        return log_classifier(classifier, coloured_images(0, 2, 32, seed=0), "shapes", 32)


def test_the_exported_model_agrees_with_the_trained_one(model, classifier):
    program = mlflow.pytorch.load_model(model.model_uri)
    served = mlflow.pyfunc.load_model(model.model_uri)
    for count in (1, 2, 7):
        images = coloured_images(1, count, 32, seed=1)
        with torch.inference_mode():
            expected = classifier.eval()(torch.from_numpy(images)).numpy()
        for found in (program(torch.from_numpy(images)).detach().numpy(), served.predict(images)):
            assert found.shape == (count, 3)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_class_names_and_shape_travel_with_the_model(model):
    metadata = Model.load(model.model_uri).metadata
    assert metadata == {
        "classes": ["a", "b", "c"],
        "dataset": "shapes",
        "image_shape": [32, 32, 3],
        "network_image_size": 32,
    }
    spec = model.signature.inputs.inputs[0]
    assert (spec.type, spec.shape) == (np.dtype("uint8"), (-1, 32, 32, 3))
    assert model.signature.outputs.inputs[0].shape == (-1, 3)


def test_a_wrong_shape_is_refused(model):
    served = mlflow.pyfunc.load_model(model.model_uri)
    with pytest.raises(mlflow.MlflowException, match="shape"):
        served.predict(np.zeros((2, 16, 16, 3), np.uint8))


def test_the_weights_lie_beside_it_as_safetensors(model, classifier):
    folder = Path(mlflow.artifacts.download_artifacts(model.model_uri))
    with safe_open(folder / "extra_files" / "weights.safetensors", "pt") as file:
        assert json.loads(file.metadata()["classes"]) == ["a", "b", "c"]
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert state.keys() == classifier.state_dict().keys()
    for name, value in classifier.state_dict().items():
        assert torch.equal(state[name], value)


def test_no_file_of_the_model_is_a_pickle(model):
    folder = Path(mlflow.artifacts.download_artifacts(model.model_uri))
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert "model.pt2" in names
    assert not any(name.endswith((".pth", ".pkl", ".pickle")) for name in names)


def test_an_example_of_one_image_is_refused(classifier, tmp_path):
    with pytest.raises(ValueError, match="two images"):
        save_classifier(
            classifier,
            coloured_images(0, 1, 32, seed=0),
            np.zeros(1, np.uint64),
            "shapes",
            32,
            "0" * 32,
            tmp_path / "model",
        )


def test_a_model_is_logged_once_however_often_it_is_sent(store, classifier, tmp_path, monkeypatch):
    """A kill may come at any moment of the first time."""
    client = MlflowClient()
    run_id = client.create_run("0").info.run_id
    save_classifier(
        classifier, coloured_images(0, 2, 32, seed=0), np.zeros(1, np.uint64), "shapes", 32, run_id, tmp_path / "model"
    )
    begun = client.create_logged_model("0", "model", run_id)  # where it stopped
    with monkeypatch.context() as patched:

        def half(self, path):
            Path(path).write_text("", encoding="utf-8")
            raise KeyboardInterrupt

        patched.setattr(Model, "save", half)
        with pytest.raises(KeyboardInterrupt):
            send_model(client, run_id, tmp_path / "model")
    assert send_model(client, run_id, tmp_path / "model") == begun.model_id
    assert send_model(client, run_id, tmp_path / "model") == begun.model_id
    (logged,) = client.search_logged_models(["0"])
    assert logged.status == LoggedModelStatus.READY
    assert [output.model_id for output in client.get_run(run_id).outputs.model_outputs] == [begun.model_id]
    (tmp_path / "fetched").mkdir()
    fetched = fetch(StoredModel(begun.model_id, run_id, {}, None), tmp_path / "fetched")
    assert file_digests(tmp_path / "model").items() <= file_digests(fetched).items()
