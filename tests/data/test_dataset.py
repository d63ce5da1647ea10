"""A data set by name or by path: its parts, digests, class names and channel statistics."""

import numpy as np
import pytest

from tests.conftest import write_folder
from tp1.data.dataset import channel_statistics, load_data


def test_a_data_set_is_split_as_the_protocol_says(tiny_cifar10):
    data = load_data("cifar10", tiny_cifar10)
    assert (len(data.train), len(data.val), len(data.test)) == (90, 10, 20)
    assert np.bincount(data.val.labels).tolist() == [1] * 10
    assert data.image_shape == (32, 32, 3)
    assert data.origin.endswith("cifar-10-python.tar.gz")


def test_digits_have_fixed_digests():
    data = load_data("digits")
    assert (len(data.train), len(data.val), len(data.test)) == (1259, 179, 359)
    assert data.digest == "e60959b0c92db55b"
    assert data.split_digest == "d51d4b099c64c99a"


def test_data_dir_comes_before_the_environment(image_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TP1_DATA_DIR", str(tmp_path / "elsewhere"))
    assert load_data("shapes", image_folder.parent).name == "shapes"
    monkeypatch.setenv("TP1_DATA_DIR", str(image_folder.parent))
    assert load_data("shapes").name == "shapes"


def test_class_names_of_any_language_are_fine(tmp_path):
    write_folder(tmp_path / "x")
    (tmp_path / "x" / "c").rename(tmp_path / "x" / "rã-verde 2.0")
    assert load_data(str(tmp_path / "x")).classes == ("a", "b", "rã-verde 2.0")


def test_a_part_of_a_known_data_set_is_noted(tiny_cifar10, capsys):
    load_data("cifar10", tiny_cifar10)
    assert "Note: cifar10 in" in capsys.readouterr().out


def test_a_path_is_a_path_whatever_the_data_directory_holds(tmp_path, monkeypatch):
    write_folder(tmp_path / "here" / "x", per_class=12)
    write_folder(tmp_path / "data" / "x", per_class=24)
    monkeypatch.chdir(tmp_path / "here")
    assert len(load_data("./x", tmp_path / "data").pixels) == 36
    assert len(load_data("x", tmp_path / "data").pixels) == 72


def test_channel_statistics_are_numpys():
    images = np.random.default_rng(0).integers(0, 256, (50, 9, 7, 3), dtype=np.uint8)
    mean, std = channel_statistics(images)
    assert mean == pytest.approx((images / 255).mean(axis=(0, 1, 2)))
    assert std == pytest.approx((images / 255).std(axis=(0, 1, 2)))
