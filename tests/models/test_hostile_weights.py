"""Weights that are damaged, harmful or not what they should be are refused in one clear line, and no code runs."""

# ruff: noqa: PT017 - a damaged file may also be read, so an error is looked at where there is one

import json
import pickle
import struct
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.support.generated_cases import quick
from tests.support.hostile_files import Harmful, is_clear, make_special, mutated
from tests.support.made_training import read_weights
from tp1.base.errors import TP1Error
from tp1.models.weights import IMAGENET_MEAN, IMAGENET_STD, Weights, load_features


def features_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


STATE = {f"features.{key}": value for key, value in features_net().state_dict().items()}


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch has something to say of some of these
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_damaged_weights_are_refused_or_the_same(tmp_path, suffix):
    path = tmp_path / f"w.{suffix}"
    (safetensors.torch.save_file if suffix == "safetensors" else torch.save)(STATE, path)
    whole = path.read_bytes()
    bombs = [struct.pack("<Q", size) + b"{" for size in (2**63, 2**31, 10**8)]
    bombs.append(_safetensors({"features.0.weight": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}))
    bombs.append(_safetensors({"features.0.weight": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}))
    bombs.append(pickle.dumps(Harmful(tmp_path)))
    bombs.append(pickle.dumps({"features.0.weight": Harmful(tmp_path)}))

    @quick(50)
    @given(st.one_of(mutated(whole), st.sampled_from(bombs)))
    def check(content):
        path.write_bytes(content)
        net = features_net()
        try:
            weights = read_weights(str(path), "net")
            load_features(net, weights)
        except TP1Error as error:
            assert is_clear(error)
        else:
            assert all(torch.isfinite(value).all() for value in net.state_dict().values())

    check()
    assert not (tmp_path / "harm").exists()


def _safetensors(header: dict) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"\0" * 16


WRONG = {
    "NaN": (torch.full((4, 3, 3, 3), float("nan")), "NaN or infinity"),
    "infinity": (torch.full((4, 3, 3, 3), float("inf")), "NaN or infinity"),
    "shape": (torch.zeros(4, 3, 5, 5), "is 4x3x5x5, not 4x3x3x3"),
    "huge": (torch.zeros(1).expand(10**9), "is 1000000000, not 4x3x3x3"),
    "whole numbers": (torch.zeros(4, 3, 3, 3, dtype=torch.int64), "holds int64, not float32"),
    "complex": (torch.zeros(4, 3, 3, 3, dtype=torch.complex64), "holds complex64, not float32"),
    "bool": (torch.zeros(4, 3, 3, 3, dtype=torch.bool), "holds bool, not float32"),
    "sparse": (torch.zeros(4, 3, 3, 3).to_sparse(), "is no state dict"),
    "no numbers": (torch.zeros(4, 3, 3, 3, device="meta"), "is no state dict"),
}


@pytest.mark.parametrize("kind", list(WRONG))
def test_tensors_that_are_not_what_they_should_be_are_named(tmp_path, kind):
    tensor, message = WRONG[kind]
    torch.save({**STATE, "features.0.weight": tensor}, tmp_path / "w.pth")
    before = features_net().state_dict()
    net = features_net()
    with pytest.raises(TP1Error, match=message):
        load_features(net, read_weights(str(tmp_path / "w.pth"), "net"))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize(
    "changed",
    [
        {"preparation.shift": None},
        {"preparation.scale": torch.zeros(3)},
        {"preparation.scale": torch.full((3,), float("nan"))},
        {"preparation.shift": torch.zeros(2)},
        {"preparation.shift": torch.zeros(3, dtype=torch.int64)},
    ],
)
def test_a_normalisation_that_is_none_is_refused(tmp_path, changed):
    state = {**STATE, "preparation.scale": torch.ones(3), "preparation.shift": torch.ones(3)} | changed
    torch.save({key: value for key, value in state.items() if value is not None}, tmp_path / "w.pth")
    with pytest.raises(TP1Error, match="damaged normalisation"):
        read_weights(str(tmp_path / "w.pth"), "net")


def test_weights_that_were_read_whole_are_loaded():
    net = features_net()
    load_features(net, Weights("here", STATE, IMAGENET_MEAN, IMAGENET_STD))


@pytest.mark.parametrize("kind", ["pipe", "folder", "socket", "endless device", "loop"])
@pytest.mark.timeout(60)
def test_weights_that_are_no_file(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_special(Path("w.pth"), kind)
    with pytest.raises(TP1Error, match=r"no weights file w\.pth"):
        read_weights("w.pth", "net")
