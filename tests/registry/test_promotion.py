"""`promote`, `rollback` and `download` as commands, on models that were really trained."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from tests.conftest import PROJECT, all_runs, coloured_images, copy_database, invoke, own_store
from tests.support.catalog import catalog
from tests.support.made_runs import make_run
from tp1.data.dataset import load_data
from tp1.data.image_digests import image_digests
from tp1.registry.predictor import load_predictor
from tp1.registry.promotion import Candidate
from tp1.registry.versions import DESCRIPTION_LIMIT, find_version
from tp1.report.calibration import expected_calibration_error
from tp1.report.selection import select
from tp1.store.reader import RunReader

NAME = "tp1-digits"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, empty_database) -> Path:
    """A store's database with a weak model (cnn-base) and a better one (cnnv2); their files lie beside it."""
    folder = tmp_path_factory.mktemp("trained")
    with own_store(folder, empty_database):
        for arguments in (("cnn-base", "epochs=1", "learning_rate=1e-4"), ("cnnv2", "epochs=3")):
            result = invoke(*arguments, "dataset=digits")
            assert result.exit_code == 0, result.output
    return folder / "mlflow.db"


@pytest.fixture
def runs(store, trained, tmp_path, monkeypatch) -> dict[str, str]:
    """A store of the test's own with these runs; their ids by experiment."""
    copy_database(trained, Path())
    shutil.copytree(trained.parent / "cache", tmp_path / "cache", dirs_exist_ok=True)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    return {run.data.tags["tp1.experiment"]: run.info.run_id for run in all_runs()}


@pytest.fixture(scope="module")
def promoted_database(trained, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("promoted")
    copy_database(trained, folder)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        monkeypatch.setenv("TP1_CACHE_DIR", str(trained.parent / "cache"))
        promote()
    return folder / "mlflow.db"


@pytest.fixture
def promoted(runs, promoted_database) -> dict[str, str]:
    """The same, with cnnv2's model as champion."""
    copy_database(promoted_database, Path())
    return runs


def model_folder(run_id: str) -> Path:
    """Where a run's model lies, for a test to spoil a copy of it."""
    client = MlflowClient()
    model_id = client.get_run(run_id).outputs.model_outputs[0].model_id
    return Path(client.get_logged_model(model_id).artifact_location.removeprefix("file://"))


@pytest.fixture
def tampered(runs) -> None:
    """A byte of cnn-base's program is another for the time of the test."""
    path = model_folder(runs["cnn-base"]) / "data" / "model.pt2"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    yield
    path.write_bytes(content)


def promote(*arguments: str) -> str:
    result = invoke("promote", "dataset=digits", *arguments)
    assert result.exit_code == 0, result.output
    return result.output


def champion() -> int:
    version = find_version(NAME, "champion")
    assert version is not None
    return version.number


def test_the_better_one_wins_the_worse_one_stays_challenger_and_rollback_returns(runs):
    assert "It is the first champion." in promote("experiments=cnn-base")
    assert champion() == 1
    output = promote()
    assert re.search(r"Candidate: cnnv2-s0, run \w{32}, validation accuracy [01]\.\d{4}\.", output)
    assert re.search(
        r"Against tp1-digits version 1 on the same 179 validation images: .* It is the champion now\.", output
    )
    new = find_version(NAME, "champion")
    assert (new.number, new.run_id, new.tags["tp1.replaced"]) == (2, runs["cnnv2"], "1")
    assert new.tags["tp1.verdict"] == "champion"
    assert float(new.tags["tp1.difference_low"]) > 0
    assert float(new.tags["tp1.p_value"]) < 0.025
    assert "@" in new.tags["tp1.decided_by"]
    on_its_page = MlflowClient().get_logged_model(new.model_id).tags["mlflow.modelVersions"]
    assert json.loads(on_its_page) == [{"name": NAME, "version": 2}]

    assert "It is the champion already.\ntp1-digits version 2 is champion: models:/tp1-digits@champion" in promote()

    output = promote("experiments=cnn-base")
    assert re.search(
        r"p = 1 \(McNemar's exact test, one-sided, one run\)\. It stays challenger: p is above 0\.025", output
    )
    refused = find_version(NAME, "challenger")
    assert (champion(), refused.number) == (2, 1)
    assert float(refused.tags["tp1.difference_high"]) < 0
    assert [refused.tags[f"tp1.{key}"] for key in ("verdict", "against", "p_value", "among", "images")] == [
        *("challenger", "2", "1", "1", "179"),
    ]

    result = invoke("rollback", "dataset=digits")
    assert "tp1-digits version 1 is champion again, in place of version 2." in result.output
    assert champion() == 1
    assert find_version(NAME, "challenger") is None
    assert "Rolled back to version 1 by" in find_version(NAME, 2).tags["tp1.rolled_back"]
    result = invoke("rollback", "dataset=digits")
    assert result.exit_code == 1
    assert "there is nothing to roll back to: before tp1-digits version 1 there was none." in result.output
    assert {run.info.status for run in all_runs()} == {"FINISHED", "FAILED"}
    assert not [model for model in mlflow.search_registered_models() if model.name != NAME]  # no lock is left


@pytest.mark.long
def test_force_is_recorded(runs):
    promote()
    result = invoke("promote", "dataset=digits", "experiments=cnn-base", "force= ")
    assert result.exit_code == 1
    assert "force= takes the reason" in result.output
    assert "It is the champion now by force: a demonstration" in promote(
        "experiments=cnn-base", "force=a demonstration"
    )
    forced = find_version(NAME, "champion")
    assert (forced.run_id, forced.tags["tp1.forced"], forced.tags["tp1.replaced"]) == (
        *(runs["cnn-base"], "a demonstration", "1"),
    )
    assert "It is the champion now." in promote()
    assert "It stays challenger" in promote("experiments=cnn-base")
    assert find_version(NAME, "challenger").tags["tp1.replaced"] == "1"  # what it replaced when it was champion


@pytest.mark.parametrize("tag", ["tp1.data_digest", "tp1.split_digest"])
def test_only_runs_on_the_data_at_hand_compete(runs, tag):
    MlflowClient().set_tag(runs["cnnv2"], tag, "0123")
    assert "Candidate: cnn-base-s0" in promote()
    assert champion() == 1
    MlflowClient().set_tag(runs["cnn-base"], tag, "0123")
    result = invoke("promote", "dataset=digits", "force=it must")
    assert result.exit_code == 1
    assert "no run was trained on digits as it is in sklearn.datasets" in result.stderr
    assert "the newest one, cnnv2-s0, was on " in result.stderr


@pytest.mark.parametrize("tag", ["tp1.data_digest", "tp1.split_digest"])
def test_a_champion_of_former_data_is_measured_on_images_that_are_new_to_it(runs, tag):
    """Here all that its tag says is that the data were others: no validation image was in its training."""
    promote("experiments=cnn-base")
    MlflowClient().set_model_version_tag(NAME, "1", tag, "0123")
    output = promote()
    assert "Against tp1-digits version 1 on the same 179 validation images: " in output
    assert "It is the champion now." in output


@pytest.mark.long
def test_a_champion_that_does_not_say_what_it_was_trained_on_is_replaced_by_force(runs):
    """As one of an earlier version of this project, which logged no digests of the training images."""
    promote("experiments=cnn-base")
    MlflowClient().set_model_version_tag(NAME, "1", "tp1.data_digest", "0123")
    MlflowClient().set_model_version_tag(NAME, "1", "tp1.model_sha256", "{}")
    MlflowClient().set_tag(runs["cnn-base"], "tp1.model_sha256", "{}")
    path = model_folder(runs["cnn-base"]) / "extra_files" / "trained_on.npy"
    aside = path.rename(path.with_suffix(".aside"))
    try:
        result = invoke("promote", "dataset=digits")
        assert result.exit_code == 1
        (line,) = result.stderr.splitlines()
        assert "tp1-digits version 1 was trained on other data or another split (digests 0123 " in line
        assert "does not say on which images. force=REASON replaces the champion without a comparison." in line
        output = promote("force=the data grew")
    finally:
        aside.rename(path)
    assert "Not compared with tp1-digits version 1: tp1-digits version 1 was trained on other data" in output
    assert "It is the champion now by force: the data grew" in output
    version = find_version(NAME, "champion")
    assert (version.number, version.tags["tp1.forced"], version.tags["tp1.difference"]) == (2, "the data grew", "")
    assert version.tags["tp1.not_compared"].startswith("tp1-digits version 1 was trained on other data")


@pytest.mark.long
def test_files_that_were_deleted_are_no_dead_end(runs, tmp_path):
    """Those of the champion, of its predecessor, and of the best run."""
    promote("experiments=cnn-base")
    promote()
    folders = {name: model_folder(runs[name]) for name in runs}
    folders["cnnv2"].rename(tmp_path / "aside")
    try:
        for command in (("download",), ("promote", "experiments=cnn-base")):
            result = invoke(*command, "dataset=digits")
            assert result.exit_code == 1
            assert "the files of tp1-digits version 2 were deleted: restore them, or promote another" in result.stderr
        output = promote("force=its files are gone")  # the best run's model, so the next one is taken
        assert "cnnv2 (" in output
        assert "is better, but the model of cnnv2-s0 (" in output
        assert "Not compared with tp1-digits version 2: the files of tp1-digits version 2 were deleted" in output
        assert champion() == 1
        # The champion's predecessor is version 2, whose files are gone, and whose own is the champion again.
        result = invoke("rollback", "dataset=digits")
        assert result.exit_code == 1
        assert "tp1-digits version 2 is passed over: its files were deleted." in result.output
        assert "there is nothing to roll back to" in result.output
        assert champion() == 1
    finally:
        (tmp_path / "aside").rename(folders["cnnv2"])
    assert invoke("rollback", "dataset=digits").exit_code == 0
    assert champion() == 2


@pytest.mark.long
def test_data_that_grew_and_another_data_set_of_the_same_name(store, image_folder, tmp_path):
    """The champion was trained on most of today's validation images: those it does not know decide."""

    def trained() -> None:
        quick = ("epochs=1", "batch_size=8", "learning_rate=1e-3")
        result = invoke("cnn-base", f"dataset={image_folder}", *quick)
        assert result.exit_code == 0, result.output

    trained()
    assert invoke("promote", f"dataset={image_folder}").exit_code == 0
    for label, name in enumerate("abc"):
        for number, image in enumerate(coloured_images(label, 30, 32, seed=8)):
            Image.fromarray(image).save(image_folder / name / f"new{number:03d}.png")
    result = invoke("promote", f"dataset={image_folder}")
    assert result.exit_code == 1
    assert "no run was trained on shapes as it is in" in result.stderr
    trained()
    result = invoke("promote", f"dataset={image_folder}")
    assert result.exit_code == 0, result.output
    data = load_data(str(image_folder))
    seen = np.load(model_folder(all_runs()[-1].info.run_id) / "extra_files" / "trained_on.npy")
    new = int((~np.isin(image_digests(data.val.images), seen)).sum())
    assert 0 < new < len(data.val)
    assert f"on the same {new} validation images that the champion was not trained on: " in result.output

    image_folder.rename(tmp_path / "first")
    for name in ("x", "y"):
        shutil.copytree(tmp_path / "first" / {"x": "a", "y": "b"}[name], image_folder / name)
    trained()
    result = invoke("promote", f"dataset={image_folder}")
    assert result.exit_code == 1
    assert "tp1-shapes version 1 knows other classes (a, b, c) than shapes in" in result.stderr
    assert "it is of another data set of the same name" in result.stderr
    other = "tp1-shapes version 1 knows other classes (a, b, c) than shapes in"
    assert other in invoke("download", f"dataset={image_folder}", "to=elsewhere").stderr
    assert not Path("elsewhere").exists()
    result = invoke("promote", f"dataset={image_folder}", "force=a data set of other classes now")
    assert result.exit_code == 0, result.output
    for dataset in ("shapes", str(image_folder)):
        assert "tp1-shapes version" in invoke("download", f"dataset={dataset}", "to=here").output
    assert other in invoke("rollback", f"dataset={image_folder}").stderr  # its champion is not made that of the first
    assert "version 1 is champion again" in invoke("rollback", "dataset=shapes").output


def test_a_candidate_that_falls_short_is_refused_with_its_figures(runs):
    """Whatever force= says; what is met stands in the version's tags and card, until nothing is asked any more."""
    data = load_data("digits")
    result = invoke("promote", "dataset=digits", "experiments=cnn-base", "require=accuracy:0.99,ece:0.9", "force=now")
    assert result.exit_code == 1
    model = load_predictor(runs["cnn-base"])
    probabilities = model.probabilities(data.val.images)
    accuracy = (probabilities.argmax(axis=1) == data.val.labels).mean()
    error = expected_calibration_error(probabilities, data.val.labels)
    assert result.stderr == (
        f"Error: cnn-base-s0 ({runs['cnn-base']}) falls short of what require= asks for (accuracy). Asked for, and "
        f"measured on 179 validation images: accuracy {accuracy:.6g} (at least 0.99), calibration error {error:.6g} "
        "(at most 0.9). Nothing was changed: ask for less, or train a better one.\n"
    )
    assert find_version(NAME, 1) is None

    output = promote("experiments=cnn-base", "require=ece:0.9,corruption:0.01")
    version = find_version(NAME, "champion")
    assert version.tags["tp1.require"] == "ece:0.9,corruption:0.01"
    assert version.tags["tp1.measured_ece"] == f"{error:.6g}"
    mean = float(version.tags["tp1.measured_corruption"])
    assert 0.01 < mean < accuracy + 0.2
    said = f"calibration error {error:.6g} (at most 0.9), mean corruption accuracy {mean:.6g} (at least 0.01)."
    assert said in output
    assert said in version.description
    assert promote("experiments=cnn-base").count("Asked for") == 0
    assert find_version(NAME, 1).tags["tp1.require"] == "ece:0.9,corruption:0.01"  # as it was made champion

    result = invoke("promote", "dataset=digits", "experiments=cnn-base", "require=ece:0")  # it is champion already
    assert "falls short of what require= asks for (ece)." in result.stderr
    assert "It is the champion already. Asked for, and measured" in promote("experiments=cnn-base", "require=brier:2")
    tags = find_version(NAME, 1).tags
    assert (tags["tp1.require"], tags["tp1.measured_ece"], tags["tp1.measured_corruption"]) == ("brier:2.0", "", "")
    assert 0 < float(tags["tp1.measured_brier"]) < 2

    promote()
    promote("experiments=cnn-base")
    assert (champion(), find_version(NAME, 1).tags["tp1.require"]) == (2, "")  # it was decided on anew
    assert find_version(NAME, 1).tags["tp1.measured_brier"] == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' asks for nothing that is known: give accuracy, corruption, ece, brier, each as NAME:LIMIT."),
        ("speed:3", "'speed:3' asks for nothing that is known"),
        ("ece:0.1,", "'' asks for nothing that is known"),
        ("ece", "'' is no limit for ece: give a number from 0 to 1, such as ece:0.5."),
        ("ece:low", "'low' is no limit for ece"),
        ("corruption:60", "'60' is no limit for corruption: give a number from 0 to 1"),
        ("brier:nan", "'nan' is no limit for brier: give a number from 0 to 2"),
        ("ece:0.1,ece:0.2", "ece is asked for twice."),
    ],
)
def test_requirements_that_make_no_sense_are_one_line(store, text, message):
    result = invoke("promote", "dataset=digits", f"require={text}")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert message in line
    assert [run.info.status for run in all_runs()] == ["FAILED"]


@pytest.mark.usefixtures("tampered")
def test_a_tampered_model_is_refused_everywhere(runs, tmp_path):
    message = "its file data/model.pt2 is not the one that was recorded"
    result = invoke("promote", "dataset=digits", "experiments=cnn-base")
    assert result.exit_code == 1
    assert message in result.output
    assert find_version(NAME, 1) is None
    result = invoke("download", f"run_id={runs['cnn-base']}", "to=here")
    assert result.exit_code == 1
    assert message in result.output
    assert not Path("here").exists()


def test_a_registered_model_whose_name_is_that_of_the_lock_is_left_alone(runs):
    (output,) = MlflowClient().get_run(runs["cnn-base"]).outputs.model_outputs
    mlflow.register_model(f"models:/{output.model_id}", f"{NAME}-promotion")
    result = invoke("promote", "dataset=digits")
    assert result.exit_code == 1
    assert f"{NAME}-promotion is a registered model, and {NAME} needs this name for its lock" in result.stderr
    assert MlflowClient().get_model_version(f"{NAME}-promotion", "1")


@pytest.mark.long
def test_two_promotions_at_once_leave_the_better_one(runs, store):
    commands = [
        [sys.executable, "-m", "experiments.promote", "dataset=digits", f"experiments={name}"]
        for name in ("cnn-base", "cnnv2")
    ]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for command in commands]
    assert [process.wait(timeout=200) for process in processes] == [0, 0]
    assert find_version(NAME, "champion").run_id == runs["cnnv2"]
    assert {find_version(NAME, number).tags["tp1.verdict"] for number in (1, 2)} in (
        {"champion"},
        {"champion", "challenger"},
    )


def test_what_has_no_model_or_no_runs_is_said(store):
    result = invoke("promote", "dataset=digits")
    assert result.exit_code == 1
    assert "no finished run on digits" in result.output
    run_id = make_run("cnnv3", dataset="digits")
    MlflowClient().set_tag(run_id, "tp1.reference", "original")
    MlflowClient().set_tag(run_id, "mlflow.source.name", "reference/digits/cnnv3-s0")
    result = invoke("promote", "dataset=digits")
    assert result.exit_code == 1
    assert "the newest one, cnnv3-s0, was on data split." in result.output
    data = load_data("digits")
    for tag, value in (("tp1.data_digest", data.digest), ("tp1.split_digest", data.split_digest)):
        MlflowClient().set_tag(run_id, tag, value)
    result = invoke("promote", "dataset=digits")
    assert result.exit_code == 1
    assert "no run on digits has its model here; train one. cnnv3 (" in result.output
    assert "is better, but has no model here: it was loaded from a record." in result.output


def test_the_card_says_what_the_model_is(runs):
    promote("experiments=cnn-base")
    promote()
    card = find_version(NAME, "champion").description
    assert len(card) < DESCRIPTION_LIMIT
    run = MlflowClient().get_run(runs["cnnv2"])
    for text in (
        "# tp1-digits version 2: cnnv2, seed 0",
        "`(H, W) = (32, 32)`",
        f"| test accuracy (359 images) | {run.data.metrics['test/accuracy']:.4f} |",
        "| calibration error (ECE, 15 bins, test) | 0.",
        "| class | F1 | precision | recall |",
        "    mlflow run . -e cnnv2 -P epochs=3 -P dataset=digits",
        f"Data digest {run.data.tags['tp1.data_digest']}, split digest {run.data.tags['tp1.split_digest']}.",
        "images/s in batches of 64, on ",
        "## Promotion",
        "over 1 seed; this is the best of them. By ",
        "Against tp1-digits version 1 on the same 179 validation images:",
    ):
        assert text in card, text


def test_the_best_seed_is_called_so_only_if_it_is(store):
    for seed, accuracy in ((0, 0.8), (1, 0.9)):
        make_run("cnnv3", seed=seed, accuracy=accuracy)
    (group,) = select(RunReader(), catalog()).groups
    sentences = [Candidate(group, run, None, None, (), ()).sentence() for run in group.runs]
    assert sentences[1] == sentences[0].replace(" that has its model here.", ".")
    assert sentences[1].startswith(
        "cnnv3: mean validation accuracy 0.8500 ± 0.0707 over 2 seeds; this is the best of them"
    )


def test_a_download_does_not_replace_the_folder_one_is_in(promoted, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for folder in (".", str(tmp_path / "empty")):
        result = invoke("download", "dataset=digits", f"to={folder}")
        assert result.exit_code == 1
        assert "the download would replace the folder that you are in: name a new one with to=." in result.stderr


def test_a_download_is_whole_and_can_be_repeated(promoted, monkeypatch):
    result = invoke("download", "dataset=digits", "to=here")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in Path("here").iterdir()) == [
        *("MODEL_CARD.md", "labels.txt", "model.json", "model.pt2", "weights.safetensors"),
    ]
    info = json.loads(Path("here/model.json").read_text(encoding="utf-8"))
    assert (info["name"], info["version"], info["dataset"], info["image_shape"]) == (NAME, 1, "digits", [32, 32, 3])
    assert info["classes"] == Path("here/labels.txt").read_text(encoding="utf-8").split("\n")[:-1]
    assert Path("here/MODEL_CARD.md").read_text(encoding="utf-8") == find_version(NAME, 1).description

    before = Path("here/model.json").read_bytes()
    with monkeypatch.context() as broken:
        broken.setattr("tp1.registry.download.digest", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        assert invoke("download", "dataset=digits", "to=here").exit_code == 130
        assert invoke("download", "dataset=digits", "to=new").exit_code == 130
    assert [path.name for path in Path().glob("*here*")] == ["here"]
    assert not list(Path().glob("*new*"))
    assert Path("here/model.json").read_bytes() == before
    assert invoke("download", "dataset=digits", "version=1", "to=here").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("version=7",), "no model models:/tp1-digits/7"),
        (("alias=challenger",), "no model models:/tp1-digits@challenger"),
        (("alias=challenger", "version=1"), "give one of version, alias and run_id"),
        (("run_id=0123",), "no run 0123"),
        (("to=full",), "full is there and is no download"),
        (("to=full/file",), "full/file is there and is no download"),
        (("to=full/file/below",), "cannot write to full/file/below"),
    ],
)
def test_a_download_that_cannot_be_is_one_line(promoted, arguments, message):
    Path("full").mkdir()
    Path("full/file").write_text("mine", encoding="utf-8")
    result = invoke("download", "dataset=digits", *arguments)
    assert result.exit_code == 1
    assert message in result.output
    assert Path("full/file").read_text(encoding="utf-8") == "mine"


def test_the_model_of_a_run_comes_with_a_card_too(runs):
    result = invoke("download", f"run_id={runs['cnn-base']}")
    assert result.exit_code == 0, result.output
    card = Path(f"run-{runs['cnn-base'][:8]}/MODEL_CARD.md").read_text(encoding="utf-8")
    assert ": cnn-base, seed 0\n" in card
    assert "## Promotion" not in card
    MlflowClient().delete_tag(runs["cnn-base"], "tp1.model_sha256")
    result = invoke("download", f"run_id={runs['cnn-base']}", "to=unchecked")
    assert result.exit_code == 1
    assert "no digests were recorded" in result.output


@pytest.mark.long
def test_the_readmes_lines_classify_without_this_package(promoted, store, tmp_path):
    snippet = re.search(r"```python\n(import mlflow\n.*?models:/tp1-.*?)```", (PROJECT / "README.md").read_text(), re.S)
    data = load_data("digits")
    np.save(tmp_path / "images.npy", data.test.images)
    code = (
        "import sys, numpy\nimages = numpy.load('images.npy')\n"
        + snippet[1].replace("tp1-cifar10", NAME)
        + "\nassert 'tp1' not in sys.modules\nnumpy.save('predicted.npy', predicted)\n"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True, cwd=tmp_path, timeout=200)
    accuracy = float((np.load(tmp_path / "predicted.npy") == data.test.labels).mean())
    assert accuracy == MlflowClient().get_run(promoted["cnnv2"]).data.metrics["test/accuracy"]
