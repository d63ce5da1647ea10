"""What a run is does not depend on how it was spelled: `seeds=`, `compare` and `report` go by content."""

import shutil

import pytest
from mlflow import MlflowClient

from tests.conftest import all_runs, invoke
from tests.support.catalog import catalog
from tests.support.made_runs import make_run
from tp1.experiment import by_name_and_configuration
from tp1.report.comparison import group, newest
from tp1.store.reader import RunReader

QUICK = ("epochs=1", "batch_size=16")


def groups() -> dict[str, list[int]]:
    """Seeds by label."""
    chosen, broken = newest(RunReader().find_runs())
    assert not broken
    return {
        found.label: [run.seed for run in found.runs] for found in group(chosen, by_name_and_configuration(catalog()))
    }


@pytest.mark.long
def test_another_size_than_the_data_sets_own_is_no_default(store, image_folder):
    train = ("cnn-base", f"dataset={image_folder}", *QUICK)
    assert invoke(*train).exit_code == 0
    assert invoke(*train, "image_size=48", "seed=1").exit_code == 0
    assert groups() == {
        "cnn-base (dataset=shapes, epochs=1, batch_size=16)": [0],
        "cnn-base (dataset=shapes, image_size=48, epochs=1, batch_size=16)": [1],
    }
    assert "2 runs, 1 of them finished already" in invoke(*train, "seeds=0,1").output
    assert len([run for run in all_runs() if run.info.run_name == "cnn-base-s1"]) == 2


def test_an_alias_that_points_elsewhere_is_another_group(store):
    for seed, digest in enumerate(("a" * 16, "b" * 16, "a" * 16)):
        make_run(
            "alexnet-pretrained", seed=seed, dataset="eurosat", weights="models:/x@champion", weights_digest=digest
        )
    assert groups() == {
        "alexnet-pretrained (image_size=32, weights=models:/x@champion) [aaaaaaaa]": [0, 2],
        "alexnet-pretrained (image_size=32, weights=models:/x@champion) [bbbbbbbb]": [1],
    }


def test_the_same_weights_and_data_by_another_name_are_the_same(store, tmp_path):
    client = MlflowClient()
    for seed, weights in enumerate(("/a/w.pth", "b/w.pth")):
        run_id = make_run("alexnet-pretrained", seed=seed, dataset="eurosat", weights=weights, weights_digest="a" * 16)
        client.log_param(run_id, "data_dir", f"/{seed}")
    assert list(groups().values()) == [[0, 1]]


def test_untrained_weights_are_one_configuration(store):
    for seed in (0, 1):
        make_run("alexnet-pretrained", seed=seed, dataset="eurosat", weights="none", weights_digest=str(seed) * 16)
    assert list(groups().values()) == [[0, 1]]


@pytest.mark.long
def test_runs_on_older_data_are_not_taken_for_finished(store, image_folder, tmp_path):
    train = ("cnn-base", f"dataset={image_folder}", *QUICK, "seeds=0")
    assert "1 run, 0 of them finished already" in invoke(*train).output
    assert "1 run, 1 of them finished already" in invoke(*train).output
    shutil.copy(image_folder / "a" / "000.png", image_folder / "a" / "more.png")
    assert "1 run, 0 of them finished already" in invoke(*train).output
    assert "1 run, 1 of them finished already" in invoke(*train).output


@pytest.mark.long
def test_weights_that_were_trained_anew_are_not_taken_for_finished(store, image_folder):
    first = invoke("cnn-base", f"dataset={image_folder}", *QUICK)
    assert first.exit_code == 0
    client = MlflowClient()
    client.create_registered_model("base")

    def register() -> None:
        model_id = all_runs()[0].outputs.model_outputs[0].model_id
        version = client.create_model_version("base", f"models:/{model_id}", model_id=model_id)
        client.set_registered_model_alias("base", "now", version.version)

    register()
    train = ("cnn-base", f"dataset={image_folder}", *QUICK, "weights=models:/base@now", "seeds=5")
    assert "1 run, 0 of them finished already" in invoke(*train).output
    assert "1 run, 1 of them finished already" in invoke(*train).output
    assert invoke("cnn-base", f"dataset={image_folder}", *QUICK, "seed=9").exit_code == 0
    register()
    assert "1 run, 0 of them finished already" in invoke(*train).output


def test_data_that_is_not_here_is_said(store, image_folder, tmp_path):
    train = ("cnn-base", f"dataset={image_folder}", *QUICK, "seeds=0")
    assert invoke(*train).exit_code == 0
    image_folder.rename(tmp_path / "elsewhere")
    result = invoke(*train)
    assert result.exit_code == 0, result.output
    assert "1 run, 1 of them finished already" in result.output
    assert (
        "whether finished runs of cnn-base had the present data and weights is not known: no data set" in result.output
    )


@pytest.mark.long
def test_a_trunk_that_is_untrained_beside_a_trained_one_does_not_repeat_for_ever(store, tiny_eurosat, tmp_path):
    """Its digest is another each time that the network is built."""
    import torch
    from safetensors.torch import save_file
    from torchvision import models

    torch.manual_seed(0)
    save_file(models.mobilenet_v2(weights=None).state_dict(), tmp_path / "w.safetensors")
    train = ("fusion", f"weights=none,{tmp_path / 'w.safetensors'}", "image_size=64", *QUICK, "seeds=0")
    assert "1 run, 0 of them finished already" in invoke(*train).output
    assert "1 run, 1 of them finished already" in invoke(*train).output
