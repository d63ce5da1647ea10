"""Weights to start from, whatever file or model they come from, and those that are refused."""

import pickle
from types import SimpleNamespace

import mlflow
import pytest
import safetensors.torch
import torch
from torchvision import models

from experiments import alexnet_pretrained
from tests.conftest import coloured_images, log_classifier
from tests.support.made_training import read_weights
from tp1.base.errors import TP1Error
from tp1.experiment import Transfer
from tp1.models.build import build
from tp1.models.classifier import Classifier, Preparation
from tp1.models.networks import mobilenet_v2
from tp1.models.transfer import Trunk, build_transfer
from tp1.models.weights import IMAGENET_MEAN, IMAGENET_STD, features_digest, load_features
from tp1.tracking.model_files import save_weights

OWN_MEAN, OWN_STD = (0.3, 0.4, 0.5), (0.21, 0.22, 0.23)


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(11)
    return models.mobilenet_v2(weights=None).state_dict()


@pytest.fixture
def trunk():
    return Trunk("mobilenet_v2", Preparation(64, IMAGENET_MEAN, IMAGENET_STD))


def loaded(trunk, state) -> bool:
    return all(torch.equal(value, state[f"features.{key}"]) for key, value in trunk.features.state_dict().items())


def test_none_is_none():
    assert read_weights("none", "mobilenet_v2") is None


def test_a_safetensors_file(tmp_path, state, trunk):
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    weights = read_weights(str(tmp_path / "w.safetensors"), "mobilenet_v2")
    load_features(trunk.features, weights)
    assert loaded(trunk, state)
    assert (weights.mean, weights.std) == (IMAGENET_MEAN, IMAGENET_STD)


def test_a_pth_file(tmp_path, state, trunk):
    torch.save(state, tmp_path / "w.pth")
    weights = read_weights(str(tmp_path / "w.pth"), "mobilenet_v2")
    load_features(trunk.features, weights)
    assert loaded(trunk, state)


def test_half_precision_files_are_widened(tmp_path, state, trunk):
    half = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    safetensors.torch.save_file(half, tmp_path / "w.safetensors")
    load_features(trunk.features, read_weights(str(tmp_path / "w.safetensors"), "mobilenet_v2"))
    assert trunk.features[0][0].weight.dtype == torch.float32
    assert torch.equal(trunk.features[0][0].weight, half["features.0.0.weight"].float())


def test_imagenet_weights_are_torchvisions_with_their_normalisation(tmp_path, state, trunk, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = models.MobileNet_V2_Weights.IMAGENET1K_V2.url.rpartition("/")[2]
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(state, tmp_path / "hub" / "checkpoints" / name)
    weights = read_weights("imagenet", "mobilenet_v2")
    load_features(trunk.features, weights)
    assert loaded(trunk, state)
    assert (weights.mean, weights.std) == (IMAGENET_MEAN, IMAGENET_STD)


def test_imagenet_weights_that_cannot_be_downloaded_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(TP1Error, match=r"could not be downloaded from https.*weights=FILE"):
        read_weights("imagenet", "alexnet")
    with pytest.raises(TP1Error, match="there are none for CNNV3, only for alexnet and mobilenet_v2"):
        read_weights("imagenet", "CNNV3")


@pytest.fixture
def classifier(state):
    net = mobilenet_v2(3, 64)
    net.features.load_state_dict({key[9:]: value for key, value in state.items() if key.startswith("features.")})
    return Classifier(net, tuple("abc"), Preparation(64, OWN_MEAN, OWN_STD))


@pytest.mark.parametrize("form", ["alias", *(pytest.param(form, marks=pytest.mark.long) for form in ("version", "id"))])
def test_a_model_of_this_platform_brings_its_normalisation(store, classifier, state, trunk, form):
    with mlflow.start_run():
        info = log_classifier(classifier, coloured_images(0, 2, 64, 0), "shapes", 64)
    mlflow.register_model(info.model_uri, "pretrained")
    mlflow.MlflowClient().set_registered_model_alias("pretrained", "champion", "1")
    spec = {"version": "models:/pretrained/1", "alias": "models:/pretrained@champion", "id": info.model_uri}[form]
    weights = read_weights(spec, "mobilenet_v2")
    load_features(trunk.features, weights)
    assert loaded(trunk, state)
    assert weights.mean == pytest.approx(OWN_MEAN, abs=1e-6)
    assert weights.std == pytest.approx(OWN_STD, abs=1e-6)


def test_the_trunk_of_a_model_that_was_itself_transferred(tmp_path, state, trunk):
    transfer = Transfer("m", ("mobilenet_v2",), 1, "linear")
    model = build_transfer(transfer, [Preparation(64, OWN_MEAN, OWN_STD)], tuple("abc"), 0.2)
    model.ordered_trunks[0].features.load_state_dict({k[9:]: v for k, v in state.items() if k.startswith("features.")})
    save_weights(model, tmp_path / "w.safetensors")
    weights = read_weights(str(tmp_path / "w.safetensors"), "mobilenet_v2")
    load_features(trunk.features, weights)
    assert loaded(trunk, state)
    assert weights.mean == pytest.approx(OWN_MEAN, abs=1e-6)


def test_a_model_that_is_not_there(store):
    with pytest.raises(TP1Error, match=r"no model models:/nothing@champion in sqlite"):
        read_weights("models:/nothing@champion", "mobilenet_v2")


def test_a_mismatch_names_the_layers_that_differ(tmp_path, state, trunk):
    before = {key: value.clone() for key, value in trunk.features.state_dict().items()}
    changed = {**state, "features.0.0.weight": torch.zeros(16, 3, 3, 3), "features.99.weight": torch.zeros(1)}
    del changed["features.1.conv.1.weight"]
    safetensors.torch.save_file(changed, tmp_path / "w.safetensors")
    weights = read_weights(str(tmp_path / "w.safetensors"), "mobilenet_v2")
    with pytest.raises(TP1Error) as error:
        load_features(trunk.features, weights)
    assert "features.1.conv.1 is missing" in str(error.value)
    assert "features.99.weight is not in the network" in str(error.value)
    assert "features.0.0.weight is 16x3x3x3, not 32x3x3x3" in str(error.value)
    assert all(torch.equal(before[key], value) for key, value in trunk.features.state_dict().items())


def test_a_trunk_that_lacks_layers_is_refused_and_they_are_named_in_one_line(tmp_path):
    """Whole layers by their names, others by the tensor that is not there."""
    convolutions = models.alexnet(weights=None).features.state_dict()
    kept = {f"features.{key}": value for key, value in convolutions.items() if key[:2] not in ("3.", "10")}
    del kept["features.8.bias"]
    safetensors.torch.save_file(kept, tmp_path / "w.safetensors")
    trunk = Trunk("alexnet", Preparation(64, IMAGENET_MEAN, IMAGENET_STD))
    with pytest.raises(TP1Error) as error:
        load_features(trunk.features, read_weights(str(tmp_path / "w.safetensors"), "alexnet"))
    assert str(error.value) == (
        f"weights={tmp_path}/w.safetensors do not fit the network: "
        "features.3 is missing; features.8.bias is missing; features.10 is missing."
    )


@pytest.mark.parametrize("alone", [True, False])
def test_a_file_of_the_trunk_alone_is_taken_and_the_head_is_said_to_be_new(tmp_path, capsys, alone):
    torch.manual_seed(3)
    given = models.alexnet(weights=None).state_dict()
    chosen = {key: value for key, value in given.items() if key.startswith("features.") or not alone}
    safetensors.torch.save_file(chosen, tmp_path / "w.safetensors")
    weights = read_weights(str(tmp_path / "w.safetensors"), "alexnet")
    data = SimpleNamespace(classes=tuple("abc"), mean=OWN_MEAN, std=OWN_STD)
    built = build(alexnet_pretrained.experiment, data, 64, 0.5, [weights])
    said = f"weights={tmp_path}/w.safetensors give the convolutions alone: the head is new, all of its layers.\n"
    assert capsys.readouterr().out == (said if alone else "")
    assert built.facts["head_layers_from_weights"] == ("0" if alone else "2")
    assert torch.equal(built.model.trunks["alexnet"].features[0].weight, given["features.0.weight"])
    assert torch.equal(built.model.head[2].weight, given["classifier.1.weight"]) is not alone


def test_weights_of_another_network_are_refused(tmp_path, trunk):
    torch.save(models.alexnet(weights=None).state_dict(), tmp_path / "alexnet.pth")
    with pytest.raises(TP1Error, match=r"do not fit the network: features\..* and \d+ more"):
        load_features(trunk.features, read_weights(str(tmp_path / "alexnet.pth"), "mobilenet_v2"))


def test_bfloat16_files_and_odd_keys(tmp_path, state, trunk):
    bf16 = {key: value.bfloat16() if value.is_floating_point() else value for key, value in state.items()}
    safetensors.torch.save_file(bf16, tmp_path / "w.safetensors")
    load_features(trunk.features, read_weights(str(tmp_path / "w.safetensors"), "mobilenet_v2"))
    torch.save({1: torch.zeros(2)}, tmp_path / "w.pth")
    with pytest.raises(TP1Error, match="is no state dict"):
        read_weights(str(tmp_path / "w.pth"), "mobilenet_v2")


def test_the_digest_tells_weights_apart(state):
    other = {**state, "features.0.0.weight": state["features.0.0.weight"] + 1e-3}
    assert features_digest(state) == features_digest(dict(reversed(state.items()))) != features_digest(other)


class Harmful:
    def __reduce__(self):
        return (print, ("harm done",))


@pytest.mark.parametrize(
    "fault", ["missing", "truncated", "pickle", "other suffix", "not a state dict", "truncated pth"]
)
def test_a_file_that_cannot_be_used_is_one_clear_error(tmp_path, state, fault, capsys):
    path = tmp_path / ("w.pth" if fault in ("pickle", "not a state dict", "truncated pth") else "w.safetensors")
    message = "cannot read weights file"
    if fault == "missing":
        message = "no weights file"
    elif fault == "pickle":
        torch.save({"features.0.0.weight": Harmful()}, path)
        message = "holds more than tensors"
    elif fault == "other suffix":
        path = tmp_path / "w.onnx"
        path.write_bytes(b"")
        message = "neither .safetensors nor .pth"
    elif fault == "not a state dict":
        torch.save([1, 2, 3], path)
        message = "is no state dict"
    else:
        (safetensors.torch.save_file if fault == "truncated" else torch.save)(state, path)
        path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(TP1Error, match=message):
        read_weights(str(path), "mobilenet_v2")
    assert "harm done" not in capsys.readouterr().out


def test_a_plain_pickle_is_not_run(tmp_path, capsys):
    (tmp_path / "w.pth").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(TP1Error, match="weights file"):
        read_weights(str(tmp_path / "w.pth"), "mobilenet_v2")
    assert "harm done" not in capsys.readouterr().out
