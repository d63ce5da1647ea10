"""A record with its model: exported in half precision, built again in another store, champion there."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
from mlflow import MlflowClient
from PIL import Image

from tests.conftest import all_runs, coloured_images, invoke, own_store
from tp1.data.dataset import load_data
from tp1.registry.predictor import load_predictor

URI = "models:/tp1-digits@champion"


@pytest.fixture(scope="module")
def kept(tmp_path_factory, empty_database) -> Path:
    """A folder of records, one with its model."""
    folder = tmp_path_factory.mktemp("trained")
    with own_store(folder, empty_database):
        assert invoke("cnnv2", "dataset=digits", "epochs=2").exit_code == 0
        (run,) = all_runs()
        result = invoke("export", run.info.run_id, "--with-model", "to=kept")
        assert result.exit_code == 0, result.output
        # In the store that has the run, its own model becomes champion.
        result = invoke("import", "kept")
        assert result.exit_code == 0, result.output
        assert f"its model is tp1-digits version 1 and champion: {URI}" in result.output
        (folder / "accuracy.txt").write_text(str(run.data.metrics["test/accuracy"]), encoding="utf-8")
    return folder / "kept"


@pytest.fixture
def record(kept, tmp_path, monkeypatch) -> Path:
    """A copy of the record, and an empty cache."""
    monkeypatch.setenv("TP1_CACHE_DIR", str(kept.parent / "cache"))
    shutil.copytree(kept, tmp_path / "kept")
    return tmp_path / "kept" / "digits" / "cnnv2-s0"


def test_a_newcomer_has_the_best_model_without_training(kept, record, store):
    assert (record / "weights.safetensors").stat().st_size < 0.55 * 4 * 231_578
    for sentence in (f"its model is tp1-digits version 1 and champion: {URI}", "is there already"):
        result = invoke("import", "kept")
        assert result.exit_code == 0, result.output
        assert sentence in result.output
    assert len(MlflowClient().search_model_versions("name='tp1-digits'")) == 1
    data = load_data("digits")
    predictor = load_predictor(URI)
    accuracy = (predictor.probabilities(data.test.images).argmax(axis=1) == data.test.labels).mean()
    assert accuracy == pytest.approx(float((kept.parent / "accuracy.txt").read_text()), abs=0.003)
    result = invoke("download", "dataset=digits")
    assert result.exit_code == 0, result.output
    assert "Loaded from the record cnnv2-s0 by" in Path("tp1-digits/MODEL_CARD.md").read_text(encoding="utf-8")
    np.save("ten.npy", data.test.images[:10])
    assert invoke("predict", "images=ten.npy", "model=tp1-digits").exit_code == 0
    assert "It is the champion already." in invoke("promote", "dataset=digits").output
    # A champion that is there stays.
    assert invoke("cnn-base", "dataset=digits", "epochs=1").exit_code == 0
    assert (
        "It is the champion now by force"
        in invoke("promote", "dataset=digits", "experiments=cnn-base", "force=x").output
    )
    assert "champion" not in invoke("import", "kept").output
    # The record's model may win it back; it is one of the runs that it is the best of.
    assert invoke("promote", "dataset=digits", "experiments=cnnv2").exit_code == 0
    version = MlflowClient().get_model_version_by_alias("tp1-digits", "champion")
    assert version.tags["tp1.among"] == "1"


@pytest.mark.long
def test_an_import_that_was_killed_goes_on(record, store, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr("mlflow.MlflowClient.finalize_logged_model", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert invoke("import", "kept").exit_code == 130
    result = invoke("import", "kept")
    assert result.exit_code == 0, result.output
    assert "0 new reference runs" in result.output
    assert load_predictor(URI).dataset == "digits"


def test_weights_of_another_model_are_refused(record, store):
    """A file that was swapped or damaged, or a network that is another in today's code."""
    path = record / "weights.safetensors"
    content = path.read_bytes()
    state = safetensors.torch.load(content)
    fewer = {name: value for name, value in state.items() if value.dim() < 4}
    other = {name: value.flip(0) if value.dim() > 1 else value for name, value in state.items()}
    cases = {
        "is not the recorded one: a probability differs by": safetensors.torch.save(other),
        "the weights are of another network than today's cnnv2": safetensors.torch.save(fewer),
        "cannot read weights.safetensors of cnnv2-s0": content[:100],
    }
    for message, damaged in cases.items():
        path.write_bytes(damaged)
        result = invoke("import", "kept")
        assert result.exit_code == 1, result.output
        (line,) = result.stderr.splitlines()
        assert message in line
    path.unlink()
    assert "cannot read the model beside the record" in invoke("import", "kept").stderr
    path.write_bytes(content)
    assert invoke("import", "kept").exit_code == 0


def test_a_model_that_cannot_be_checked_is_not_kept(store, image_folder):
    assert invoke("cnn-base", f"dataset={image_folder}", "epochs=1", "batch_size=16").exit_code == 0
    (run,) = all_runs()
    client = MlflowClient()
    client.set_tag(run.info.run_id, "tp1.dataset", "digits")
    result = invoke("export", run.info.run_id, "--with-model", "to=kept")
    assert result.exit_code == 1
    assert "was trained on other data" in result.stderr
    assert not Path("kept").exists()


@pytest.mark.long
def test_classes_that_are_called_as_columns_are_compared_by_their_own(store):
    """``true`` and ``predicted`` of predictions.parquet are class numbers, and ``index`` is the rows' index."""
    for label, name in enumerate(("index", "predicted", "true")):
        folder = Path("data") / "words" / name
        folder.mkdir(parents=True)
        for number, image in enumerate(coloured_images(label, 10, 32, seed=7)):
            Image.fromarray(image).save(folder / f"{number}.png")
    result = invoke("cnn-base", "dataset=words", "epochs=1", "batch_size=16")
    assert result.exit_code == 0, result.output
    (run,) = all_runs()
    result = invoke("export", run.info.run_id, "--with-model", "to=kept")
    assert result.exit_code == 0, result.output
    with np.load("kept/words/cnn-base-s0/probe.npz") as probe:
        assert probe["probabilities"].shape == (6, 3)
