"""Models that `predict` takes, from the store and from a downloaded folder, and those that it refuses."""

import io
import json
import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from tests.conftest import invoke
from tp1.base.digests import digest
from tp1.base.errors import TP1Error
from tp1.registry.predictor import load_predictor

CLASSES = tuple("0123456789")


def test_a_downloaded_model_predicts_the_same_and_needs_no_store(trained, downloaded, digits, monkeypatch):
    np.save("digits.npy", digits[0])
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:9"  # where no server is
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    result = invoke("predict", "images=digits.npy", "model=downloaded", "format=json", "top=10")
    assert result.exit_code == 0, result.output
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{trained[0]}/mlflow.db")
    same = invoke("predict", "images=digits.npy", f"model={trained[1]}", "format=json", "top=10")
    assert result.stdout == same.stdout != ""
    predictor = load_predictor("downloaded")
    assert (predictor.dataset, predictor.classes, predictor.image_shape) == ("digits", CLASSES, (32, 32, 3))


def test_a_program_gets_fewer_images_at_a_time_the_larger_its_network_takes_them(downloaded, digits):
    predictor = load_predictor(str(downloaded))
    assert predictor.network_image_size == 32
    counts = []
    predictor.program.register_forward_pre_hook(lambda _, given: counts.append(len(given[0])))
    for size in (32, 96, 224, 1000, 0):
        replace(predictor, network_image_size=size).probabilities(digits[0][:80])
    assert counts == [64, 16, 32, 32, 16, *[8] * 10, *[8] * 10, 64, 16]


@pytest.mark.parametrize(("count", "shape"), [(0, (0, 10)), (1, (1, 10)), (64, (64, 10)), (65, (65, 10))])
def test_a_predictor_takes_any_number_of_images(downloaded, digits, count, shape):
    predictor = load_predictor(str(downloaded))
    found = predictor.probabilities(digits[0][:count])
    assert (found.shape, found.dtype) == (shape, np.float32)
    one_by_one = [predictor.probabilities(image[np.newaxis])[0] for image in digits[0][:count]]
    np.testing.assert_allclose(found, np.reshape(one_by_one, shape), atol=1e-6)


@pytest.mark.parametrize("uri", ["models:/tp1-nothing@champion", "models:/tp1-nothing/7", "models:/m-0", "models:/"])
def test_a_model_that_is_not_there(model, uri):
    np.save("one.npy", np.zeros((32, 32, 3), np.uint8))
    result = invoke("predict", "images=one.npy", f"model={uri}")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: no model {uri} in sqlite:///")
    assert len(result.stderr.splitlines()) == 1


def test_a_model_is_found_by_alias_by_version_and_by_its_run(model, digits):
    np.save("digits.npy", digits[0][:3])
    version = mlflow.register_model(model, "tp1-digits")
    MlflowClient().set_registered_model_alias("tp1-digits", "champion", version.version)
    run_id = MlflowClient().get_logged_model(model.removeprefix("models:/")).source_run_id
    for uri in ("models:/tp1-digits@champion", f"models:/tp1-digits/{version.version}", run_id):
        result = invoke("predict", "images=digits.npy", f"model={uri}", "format=json")
        assert result.stdout == invoke("predict", "images=digits.npy", f"model={model}", "format=json").stdout != ""


def test_a_model_of_somebody_else_is_refused(model):
    with mlflow.start_run():
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        example = np.zeros((2, 4), np.float32)
        other = mlflow.pytorch.log_model(
            net, name="model", serialization_format="pt2", input_example=example, pip_requirements=["torch"]
        )
    with pytest.raises(TP1Error, match=f"the model {other.model_uri} was not made by this platform"):
        load_predictor(other.model_uri)


def edit(folder: Path, **changed: object) -> None:
    info = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(info | changed))


@pytest.mark.parametrize("name", ["model.pt2", "weights.safetensors", "labels.txt"])
def test_a_file_that_was_changed_or_is_missing_is_refused(downloaded, name):
    load_predictor(str(downloaded))
    content = bytearray((downloaded / name).read_bytes())
    content[len(content) // 2] ^= 1
    (downloaded / name).write_bytes(content)
    with pytest.raises(TP1Error, match=rf"its file {name} is not the one that was recorded .*: download it anew\."):
        load_predictor(str(downloaded))
    (downloaded / name).unlink()
    with pytest.raises(TP1Error, match=f"lacks its file {name}: download it anew"):
        load_predictor(str(downloaded))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": 2}, "is not of format 1"),
        ({"sha256": {}}, "has no SHA-256 of model.pt2"),
        ({"sha256": {"model.pt2": "", "../other": ""}}, r"names the file '\.\./other', which is not in its folder"),
        ({"sha256": {"model.pt2": "", "a\\b": ""}}, "which is not in its folder"),
        ({"sha256": {"model.pt2": "", "..": ""}}, "which is not in its folder"),
        ({"classes": []}, "does not say which classes and images it knows"),
        ({"image_shape": [32, 32]}, "does not say which classes and images it knows"),
    ],
)
def test_a_model_json_that_makes_no_sense_is_refused(downloaded, changed, message):
    load_predictor(str(downloaded))
    edit(downloaded, **changed)
    with pytest.raises(TP1Error, match=message):
        load_predictor(str(downloaded))


@pytest.mark.parametrize("content", ["{", "[]", "null"])
def test_a_model_json_that_is_none_is_refused(downloaded, content):
    (downloaded / "model.json").write_text(content)
    with pytest.raises(TP1Error, match=r"model\.json"):
        load_predictor(str(downloaded))


class Code:
    """What its pickle does when it is read: makes a folder."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("code-was-run",)


def test_a_pickle_in_the_program_is_never_read(downloaded, monkeypatch):
    """Also where the folder's own record vouches for it, and where MLflow would read it."""
    monkeypatch.delenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", raising=False)
    path = downloaded / "model.pt2"
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    (target,) = [name for name in records if name.endswith("sample_inputs/model.pt")]
    buffer = io.BytesIO()
    torch.save(Code(), buffer, pickle_module=pickle)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, buffer.getvalue() if name == target else content)
    edit(downloaded, sha256={"model.pt2": digest(path)})
    with pytest.raises(TP1Error, match="holds a pickle, which could run code"):
        load_predictor(str(downloaded))
    assert not Path("code-was-run").exists()
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever torch makes of it afterwards
        torch.export.load(path)
    assert Path("code-was-run").exists()  # so much for torch alone
