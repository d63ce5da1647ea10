"""Features of frozen layers are computed once, kept in the cache, and used in the rows of their images."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pytest
import safetensors.torch
import torch
from mlflow import MlflowClient
from torchvision import models

from experiments import fusion, mobilenetv2_pretrained
from tests.conftest import PROJECT, all_runs, invoke, write_folder
from tests.support.made_training import trunk
from tp1.data.dataset import load_data
from tp1.data.stored import Stored
from tp1.models.build import build
from tp1.models.transfer import join
from tp1.training.features import FeatureEntry, feature_parts


@pytest.fixture
def data(tiny_eurosat):
    return load_data("eurosat", tiny_eurosat)


class Counted(FeatureEntry):
    """An entry that counts how often it is computed."""

    computed = 0

    def _compute(self, first):
        type(self).computed += 1
        return super()._compute(first)


@pytest.fixture
def counted(monkeypatch):
    monkeypatch.setattr("tp1.training.features.FeatureEntry", Counted)
    Counted.computed = 0
    return Counted


def test_eurosat_is_split_as_the_protocol_says(data):
    assert data.classes[0] == "AnnualCrop"
    assert (len(data.train), len(data.val), len(data.test)) == (70, 10, 20)
    assert np.bincount(data.test.labels).tolist() == [2] * 10


def test_features_lie_in_the_rows_of_their_images(data, tmp_path):
    frozen = trunk()
    parts = feature_parts([frozen], ["w"], 1, data, tmp_path / "cache")
    for part, original in zip(parts, (data.train, data.val, data.test), strict=True):
        assert part.labels.tolist() == original.labels.tolist()
        images = torch.from_numpy(original.images)
        assert part.images.shape == (len(original), 1280, 1, 1)
        np.testing.assert_allclose(part.images, join([frozen(images)], 1).numpy(), rtol=2e-3, atol=1e-3)
        # Folded, as in the served model, they are the same but for sums in another order of other batches.
        folded = join([frozen.folded()(images)], 1).numpy()
        assert (part.images == folded).mean() > 0.999
        np.testing.assert_allclose(part.images, folded, rtol=1e-3, atol=1e-6)


def test_features_are_computed_once_and_shared_with_a_fusion(data, tmp_path, counted):
    cache = tmp_path / "cache"
    feature_parts([trunk()], ["w"], 1, data, cache)
    feature_parts([trunk()], ["w"], 2, data, cache)
    assert counted.computed == 1
    feature_parts([trunk("alexnet"), trunk()], ["a", "w"], 1, data, cache)
    assert counted.computed == 2  # AlexNet's alone


@pytest.mark.parametrize("change", ["weights", "size", "normalisation", "data"])
def test_everything_that_changes_features_changes_the_key(data, tiny_eurosat, tmp_path, counted, change):
    cache = tmp_path / "cache"
    feature_parts([trunk()], ["w"], 1, data, cache)
    if change == "data":
        next((tiny_eurosat / "eurosat" / "2750" / "River").iterdir()).unlink()
        data = load_data("eurosat", tiny_eurosat)
    other = trunk(size=96 if change == "size" else 64, mean=0.4 if change == "normalisation" else 0.5)
    feature_parts([other], ["v" if change == "weights" else "w"], 1, data, cache)
    assert counted.computed == 2


@pytest.mark.parametrize("fault", ["truncated", "altered", "meta gone"])
def test_a_damaged_entry_is_computed_again(data, tmp_path, counted, fault):
    cache = tmp_path / "cache"
    wanted = feature_parts([trunk()], ["w"], 1, data, cache)[0].images
    (entry,) = cache.glob("features-*")
    if fault == "truncated":
        os.truncate(entry / "features.bin", 999)
    elif fault == "altered":
        content = bytearray((entry / "features.bin").read_bytes())
        content[1000] ^= 1
        (entry / "features.bin").write_bytes(content)
    else:
        (entry / "meta.json").unlink()
    assert np.array_equal(feature_parts([trunk()], ["w"], 1, data, cache)[0].images, wanted)
    assert counted.computed == 2


@pytest.mark.long
def test_a_build_that_is_killed_leaves_nothing_that_is_taken_for_whole(data, tmp_path, monkeypatch, counted):
    cache = tmp_path / "cache"
    code = (
        "import os, sys, torch; sys.path.insert(0, '.')\n"
        "from pathlib import Path; from tests.support.made_training import trunk\n"
        "from tp1.data.dataset import load_data\n"
        "from tp1.training import features\n"
        "compute = features.FeatureEntry._compute\n"
        "def stop(self, first):\n"
        "    yield next(compute(self, first)); os.kill(os.getpid(), 9)\n"
        "features.FeatureEntry._compute = stop\n"
        f"data = load_data('eurosat', Path({str(tmp_path / 'data')!r}))\n"
        f"features.feature_parts([trunk()], ['w'], 1, data, Path({str(cache)!r}))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == -9
    assert not list(cache.glob("features-*"))
    assert list(cache.glob(".features-*.partial"))
    feature_parts([trunk()], ["w"], 1, data, cache)
    assert counted.computed == 1
    assert not list(cache.glob(".features-*.partial"))


@pytest.mark.long
def test_of_two_processes_one_computes_and_the_other_waits(data, tmp_path):
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from pathlib import Path; from tests.support.made_training import trunk\n"
        "from tp1.data.dataset import load_data\n"
        "from tp1.training.features import feature_parts\n"
        f"data = load_data('eurosat', Path({str(tmp_path / 'data')!r}))\n"
        f"parts = feature_parts([trunk()], ['w'], 1, data, Path({str(tmp_path / 'cache')!r}))\n"
        "print('sum', parts[0].images.astype(float).sum())\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    lines = [line for process in processes for line in process.communicate()[0].splitlines()]
    assert sum(line.startswith("Computing") for line in lines) == 1
    sums = [line for line in lines if line.startswith("sum")]
    assert len(sums) == 2
    assert sums[0] == sums[1]


@pytest.fixture
def mobilenet_file(tmp_path):
    torch.manual_seed(2)
    path = tmp_path / "mobilenet.safetensors"
    safetensors.torch.save_file(models.mobilenet_v2(weights=None).state_dict(), path)
    return path


@pytest.mark.long
def test_a_pretrained_run_uses_and_says_where_features_come_from(store, tiny_eurosat, mobilenet_file, tmp_path):
    quick = ("mobilenetv2-pretrained", f"weights={mobilenet_file}", "image_size=64", "epochs=2", "batch_size=16")
    assert invoke(*quick).exit_code == 0
    cached = invoke("cache")
    assert "features-eurosat-mobilenet_v2-64px-" in cached.output
    result = invoke(*quick, "augment=flip-crop")
    assert result.exit_code == 0
    assert "the frozen layers run on each batch" in result.output
    with_augment, without = all_runs()
    assert without.data.params["features"] == "computed once, from the cache"
    assert with_augment.data.params["features"] == "computed for every batch"
    assert without.data.params["image_size"] == "64"
    assert without.data.params["normalisation_mean"] == "0.4850, 0.4560, 0.4060"
    assert without.data.tags["tp1.model"] == "mobilenet_v2, frozen"

    path = MlflowClient().download_artifacts(without.info.run_id, "predictions.parquet", str(tmp_path))
    import pandas as pd

    logged = pd.read_parquet(path)
    (output,) = without.outputs.model_outputs
    test = load_data("eurosat").test
    probabilities = mlflow.pyfunc.load_model(f"models:/{output.model_id}").predict(test.images)
    # Test figures are measured on what is served, with cached features (batch norm folded) and without.
    np.testing.assert_allclose(probabilities, logged[list(load_data("eurosat").classes)].to_numpy(), atol=1e-5)
    assert (probabilities.argmax(axis=1) == logged["predicted"]).all()
    for run in (with_augment, without):
        (output,) = run.outputs.model_outputs
        program = mlflow.pytorch.load_model(f"models:/{output.model_id}")
        assert "batch_norm" not in str(program.graph), "the served model does not fold batch norm"

    freed = invoke("cache", "--clear")
    assert "freed in" in freed.output
    assert not [path for path in (tmp_path / "cache").glob("*-*") if path.is_dir()]


@pytest.mark.long
def test_pretrain_here_and_transfer_by_the_registry(store, tiny_eurosat, image_folder, mobilenet_file):
    assert (
        invoke("alexnet-scratch", f"dataset={image_folder}", "image_size=64", "epochs=1", "batch_size=16").exit_code
        == 0
    )
    (output,) = all_runs()[0].outputs.model_outputs
    mlflow.register_model(f"models:/{output.model_id}", "alexnet-shapes")
    result = invoke(
        "fusion", f"weights=models:/alexnet-shapes/1,{mobilenet_file}", "image_size=64", "epochs=1", "batch_size=16"
    )
    assert result.exit_code == 0, result.output
    run = all_runs()[0]
    assert run.info.run_name == "fusion-s0"
    assert len(run.data.params["weights_digest"].split(", ")) == 2


def test_untrained_trunks_of_different_experiments_do_not_share_features(data):
    """The same seed draws other weights for MobileNetV2 alone than after AlexNet."""
    digests = []
    for experiment in (mobilenetv2_pretrained.experiment, fusion.experiment):
        torch.manual_seed(0)
        digests.append(build(experiment, data, 64, 0.0, [None] * len(experiment.networks)).digests[-1])
    assert digests[0] != digests[1]


def test_features_too_large_for_memory_are_read_from_disk(data, tmp_path, monkeypatch):
    wanted = feature_parts([trunk("alexnet"), trunk()], ["a", "w"], 1, data, tmp_path / "cache")
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=100_000))
    monkeypatch.setattr("tp1.training.features.CHUNK", 7)
    parts = feature_parts([trunk("alexnet"), trunk()], ["a", "w"], 1, data, tmp_path / "cache")
    for part, other in zip(parts, wanted, strict=True):
        assert isinstance(part.images, Stored)
        assert part.images.beyond_memory
        assert np.array_equal(part.images[:], other.images)
        assert np.array_equal(part.images[np.array([8, 1])], other.images[[8, 1]])


def test_a_dropped_copy_has_no_part_and_no_place_in_the_first(tmp_path):
    """It once took the place of the first training image."""
    root = write_folder(tmp_path / "x", per_class=10, side=16)
    for number in range(10):
        (root / "c" / f"{number}.png").write_bytes((root / "c" / f"{number:03d}.png").read_bytes())
    data = load_data(str(root), drop_duplicates="train")
    assert data.reading.dropped
    frozen = trunk()
    train = feature_parts([frozen], ["w"], 1, data, tmp_path / "cache")[0]
    wanted = join([frozen.folded()(torch.from_numpy(data.train.images))], 1).numpy()
    np.testing.assert_allclose(train.images, wanted, rtol=2e-3, atol=1e-3)


def test_weights_for_the_wrong_number_of_trunks_are_an_error(store, tiny_eurosat):
    result = invoke("fusion", "weights=a.pth,b.pth,c.pth")
    assert "names 3 sources: give one for all, or one each for alexnet, mobilenet_v2" in result.stderr


def test_a_network_of_our_own_can_start_from_weights_too(store, image_folder):
    assert invoke("cnn-base", f"dataset={image_folder}", "epochs=1", "batch_size=16").exit_code == 0
    (output,) = all_runs()[0].outputs.model_outputs
    again = invoke(
        "cnn-base", f"dataset={image_folder}", f"weights=models:/{output.model_id}", "epochs=1", "batch_size=16"
    )
    assert again.exit_code == 0, again.output
    result = invoke("cnnv2", f"dataset={image_folder}", f"weights=models:/{output.model_id}", "epochs=1")
    assert "do not fit the network: features." in result.stderr
    location = MlflowClient().get_logged_model(output.model_id).artifact_location.removeprefix("file://")
    path = Path(location) / "extra_files" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"0")
    result = invoke("cnn-base", f"dataset={image_folder}", f"weights=models:/{output.model_id}", "epochs=1")
    assert "its file extra_files/weights.safetensors is not the one that was recorded" in result.stderr
