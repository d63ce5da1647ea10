"""`evaluate` as a command: what it measures, on which images, and what it refuses."""

import io
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score, log_loss

from tests.conftest import all_runs, coloured_images, copy_database, invoke, own_store, write_folder
from tests.support.colour_models import expected, log_colour_model
from tp1.commands import evaluate as evaluate_module
from tp1.data.corruptions import CORRUPTIONS, corrupted, generator_for
from tp1.data.dataset import ImageData, load_data
from tp1.data.image_digests import image_digests
from tp1.registry import explaining
from tp1.registry.evaluations import find_evaluations
from tp1.report.overlays import CAPTION


@dataclass(frozen=True)
class World:
    """A tracking store, a data set of classes a, b and c, and models: their run and model ids by the classes' order."""

    folder: Path
    data: ImageData
    models: dict[str, tuple[str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory, empty_database) -> World:
    folder = tmp_path_factory.mktemp("made")
    with own_store(folder, empty_database):
        write_folder(folder / "shapes", per_class=60)
        data = load_data(str(folder / "shapes"))
        models = {classes: log_colour_model(data, classes) for classes in ("cab", "adcb", "ab")}
        version = mlflow.register_model(f"models:/{models['cab'][1]}", "tp1-shapes")
        MlflowClient().set_registered_model_alias("tp1-shapes", "champion", version.version)
        MlflowClient().update_model_version("tp1-shapes", version.version, "Its card.")
        assert invoke("download", "dataset=shapes", "to=damaged").exit_code == 0
        Path("damaged/model.pt2").write_bytes(b"damaged")
    return World(folder, data, models)


@pytest.fixture
def world(store, made, tmp_path, monkeypatch) -> World:
    copy_database(made.folder / "mlflow.db", Path())
    monkeypatch.setenv("TP1_CACHE_DIR", str(made.folder / "cache"))
    shutil.copytree(made.folder / "shapes", tmp_path / "shapes")
    return made


def evaluate(*arguments: str) -> str:
    result = invoke("evaluate", *arguments)
    assert result.exit_code == 0, result.output
    return result.output


def newest() -> mlflow.entities.Run:
    run = MlflowClient().get_run(all_runs()[0].info.run_id)
    assert run.data.tags["tp1.experiment"] == "evaluate"
    return run


def file_of(run: mlflow.entities.Run, name: str) -> bytes:
    return Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=name)).read_bytes()


def test_what_is_measured_is_what_the_model_answers(world):
    """By every name of a model whose classes are in another order: figures, files and the links in MLflow."""
    run_id, model_id = world.models["cab"]
    part = world.data.test
    answers = expected(part.images, "cab")[:, [1, 2, 0]]
    predicted = answers.argmax(axis=1)
    accuracy = accuracy_score(part.labels, predicted)
    assert 0.5 < accuracy < 1
    output = evaluate("model=models:/tp1-shapes@champion", "dataset=./shapes")
    assert "tp1-shapes version 1 on 36 test images of shapes" in output
    assert "tp1-shapes version 1 was trained on the training images of the same data set." in output
    assert f"Accuracy {accuracy:.4f} (95 % bootstrap interval 0." in output
    run = newest()
    metrics = run.data.metrics
    assert metrics["eval/accuracy"] == accuracy
    assert metrics["eval/f1_macro"] == pytest.approx(f1_score(part.labels, predicted, average="macro"))
    assert metrics["eval/loss"] == pytest.approx(log_loss(part.labels, answers), rel=1e-5)
    assert metrics["eval/accuracy_low"] < accuracy < metrics["eval/accuracy_high"]
    assert not any(name.startswith("test/") for name in metrics)

    table = pd.read_parquet(io.BytesIO(file_of(run, "predictions.parquet")))
    np.testing.assert_allclose(table[["a", "b", "c"]].to_numpy(), answers, atol=1e-5)
    assert table["index"].tolist() == part.index.tolist()
    mistakes = pd.read_csv(io.BytesIO(file_of(run, "mistakes.csv")))
    assert len(mistakes) == (predicted != part.labels).sum()
    assert mistakes["probability"].is_monotonic_decreasing
    assert set(mistakes["image"]) == {world.data.names[row] for row in part.index[predicted != part.labels]}
    matrix = pd.read_csv(io.BytesIO(file_of(run, "confusion_matrix.csv")), index_col="true")
    assert matrix.to_numpy().trace() == round(accuracy * 36)
    html = file_of(run, "evaluation.html").decode()
    for text in ("Accuracy by confidence", f"{len(mistakes)} of {len(mistakes)} mistakes", "tp1-shapes version 1"):
        assert text in html

    assert [model.model_id for model in run.inputs.model_inputs] == [model_id]
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.tags[0].value) == ("shapes-test", "testing")
    linked = {metric.key: metric for metric in MlflowClient().get_logged_model(model_id).metrics}
    assert (linked["eval/ece"].value, linked["eval/ece"].dataset_name) == (metrics["eval/ece"], "shapes-test")
    tags = run.data.tags
    assert [tags[f"tp1.evaluated_{name}"] for name in ("model", "run", "part", "images")] == [
        *(model_id, run_id, "test", "36"),
    ]
    assert tags["tp1.split_digest"] == world.data.split_digest
    assert run.info.run_name == f"evaluate-{tags['tp1.evaluated_name']}"
    assert "tp1.model" not in tags  # else it would count as a training run
    assert "The card of tp1-shapes version 1 shows it." in output
    card = MlflowClient().get_model_version("tp1-shapes", "1").description
    assert card.startswith("Its card.\n\n## Examined\n\nOn 36 test images; ")
    assert f"| this model | {accuracy:.4f} | " in card


def test_a_downloaded_model_knows_its_split(world):
    result = invoke("download", "dataset=shapes", "to=here")
    assert result.exit_code == 0, result.output
    evaluate("model=here", "dataset=./shapes", "part=val")
    run = newest()
    assert not run.inputs.model_inputs
    assert run.data.tags["tp1.evaluated_run"] == world.models["cab"][0]
    assert run.data.tags["tp1.evaluated_images"] == str(len(world.data.val))
    info = json.loads(Path("here/model.json").read_text(encoding="utf-8"))
    Path("here/model.json").write_text(json.dumps(info | {"data_digest": ""}), encoding="utf-8")
    result = invoke("evaluate", "model=here", "dataset=./shapes", "part=val")
    said = "it is not known which validation images of shapes are here's own: give the model by its run or its name "
    rest = "in the registry, download it anew, or, where its run was deleted, give part=test.\n"
    assert result.stderr == f"Error: {said}{rest}"
    Path("here/model.json").write_text(json.dumps(info | {"dataset": ""}), encoding="utf-8")
    result = invoke("evaluate", "model=here")
    assert result.stderr == "Error: here does not say which data set it is of: give dataset=.\n"


def test_images_that_the_model_learned_from_are_left_out(world):
    """Another data set has some of its training images among those for testing."""
    model = f"model={world.models['cab'][0]}"
    for label, name in enumerate("abc"):
        for number, image in enumerate(coloured_images(label, 20, 32, seed=8)):
            path = Path("other", "test" if number < 10 else "train", name, f"{number:02d}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    for row in world.data.train.index[:4].tolist():
        shutil.copy(Path("shapes", world.data.names[row]), Path("other", "test", "a", f"learned{row:03d}.png"))
    other = load_data("./other").test
    learned = np.isin(image_digests(other.images), image_digests(world.data.train.images))
    assert (learned.sum(), len(other)) == (4, 34)
    output = evaluate(model, "dataset=./other")
    assert "was trained on 4 of them. Images of the training are left out: what follows is of the other 30." in output
    run = newest()
    predicted = expected(other.images[~learned], "abc").argmax(axis=1)
    assert run.data.metrics["eval/accuracy"] == (predicted == other.labels[~learned]).mean()
    assert run.data.tags["tp1.evaluated_images"] == "30"
    linked = MlflowClient().get_logged_model(world.models["cab"][1]).metrics
    assert {metric.dataset_name for metric in linked if metric.run_id == run.info.run_id} == {None}


def test_the_models_own_data_split_in_another_way_are_refused(world):
    MlflowClient().set_tag(world.models["cab"][0], "tp1.split_digest", "0123")
    for part, images in (("test", "test images"), ("val", "validation images")):
        result = invoke("evaluate", f"model={world.models['cab'][0]}", "dataset=./shapes", f"part={part}")
        assert result.exit_code == 1
        said = f"is split in another way (split digest {world.data.split_digest}) than when model m-"
        assert said in result.stderr
        assert f" was trained on it (0123), so that these are not its {images}: " in result.stderr
        assert "give test_from=train skip_broken=no drop_duplicates=no." in result.stderr


def test_another_model_may_have_been_trained_on_another_split(world):
    """Of the same data: then its training images are told by their pixels."""
    MlflowClient().set_tag(world.models["adcb"][0], "tp1.split_digest", "0123")
    names = (f"model={world.models['cab'][0]}", f"against={world.models['adcb'][0]}", "dataset=./shapes")
    assert f"model {world.models['adcb'][1]} was trained on none of them." in evaluate(*names)
    output = evaluate(*names[:1], "dataset=./shapes", "part=train")
    assert f"was trained on {len(world.data.train)} of them." in output


def test_each_model_gets_images_of_its_own_size(world):
    """Photographs of several sizes: a small corner decides, which the smaller model's pixels do not show."""
    blue, green = (0, 0, 255), (0, 255, 0)
    for name in "bc":
        Path("photos", name).mkdir(parents=True)
        for number in range(4):
            side = 128 + 64 * (number % 2)
            image = Image.new("RGB", (side, side), blue)
            if name == "b":
                image.paste(green, (0, 0, side // 32, side // 32))
            image.save(f"photos/{name}/{number}.png")
    small, large = (log_colour_model(world.data, "abc", side=side)[0] for side in (16, 64))
    output = evaluate(f"model={small}", f"against={large}", "dataset=./photos", "part=all", "corruptions=brightness")
    assert "0.5000 against 1.0000" in output
    assert "Images are resized" not in output
    table = pd.read_csv(io.BytesIO(file_of(newest(), "corruptions.csv"))).groupby("model")["accuracy"].min()
    assert sorted(table) == [0.5, 1.0]


def test_what_was_read_in_another_way_than_expected_is_said(world):
    Path("shapes/a/later.heic").write_bytes(b"")
    shutil.copy(Path("shapes", world.data.names[world.data.test.index[0]]), "shapes/a/copy.png")
    output = evaluate(f"model={world.models['cab'][0]}", "dataset=./shapes", "part=all")
    assert "Left out: 1 file that is no image (1 .heic)." in output
    assert "on all 181 images of shapes" in output


def test_a_part_of_the_test_images_is_not_shown_in_the_card(world):
    """The other model has learned from some of them."""
    learned = world.data.test.chosen(np.arange(len(world.data.test)) < 4)
    other = log_colour_model(replace(world.data, train=learned, digest="other"), "abc")[0]
    output = evaluate("model=models:/tp1-shapes@champion", f"against={other}", "dataset=./shapes")
    assert "was trained on 4 of them. Images of the training are left out: what follows is of the other 32." in output
    assert "card" not in output
    assert MlflowClient().get_model_version("tp1-shapes", "1").description == "Its card."


@pytest.mark.parametrize("is_deleted", [False, True])
def test_what_others_decide_meanwhile_stays_in_the_card(world, monkeypatch, is_deleted):
    real = evaluate_module.examination_page

    def slow(*arguments):
        if is_deleted:
            MlflowClient().delete_registered_model_alias("tp1-shapes", "champion")
            MlflowClient().delete_model_version("tp1-shapes", "1")
        else:
            MlflowClient().update_model_version("tp1-shapes", "1", "Rolled back.")
        return real(*arguments)

    monkeypatch.setattr(evaluate_module, "examination_page", slow)
    output = evaluate("model=models:/tp1-shapes@champion", "dataset=./shapes")
    if is_deleted:
        assert "No card shows it: tp1-shapes version 1 was deleted meanwhile." in output
    else:
        assert MlflowClient().get_model_version("tp1-shapes", "1").description.startswith("Rolled back.\n\n## Examined")


def test_an_explanation_that_fails_is_one_line_and_leaves_no_figures(world, monkeypatch):
    def failing(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(explaining, "occlusion", failing)
    model_id = world.models["cab"][1]
    result = invoke("evaluate", f"model={world.models['cab'][0]}", "dataset=./shapes", "explain=occlusion")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: explain=occlusion failed on ")
    assert line.endswith(": out of memory.")
    assert not MlflowClient().get_logged_model(model_id).metrics


def test_classes_are_matched_by_name(world):
    """A subset in another order, answers that the data set has not, and images that the model takes smaller."""
    for name in "bd":
        Path("few", name).mkdir(parents=True)
        for number, image in enumerate(coloured_images(1, 3, 32, seed=1)):
            large = np.kron(image, np.ones((2, 2, 1), np.uint8))
            if name == "d":
                large[:6, :6] = 0, 0, 255  # blue, which is class c
            with Path(f"few/{name}/{number}\udcff.png").open("wb") as file:  # a name that is no UTF-8
                Image.fromarray(large).save(file, "PNG")
    output = evaluate(f"model={world.models['adcb'][0]}", "dataset=./few", "part=all")
    assert "on all 6 images of few" in output
    assert f"Images are resized from 64x64 pixels to what model {world.models['adcb'][1]} takes, 32x32." in output
    assert "was trained on none of them." in output
    run = newest()
    matrix = pd.read_csv(io.BytesIO(file_of(run, "confusion_matrix.csv")), index_col="true")
    assert list(matrix.columns)[:2] == ["b", "d"]
    assert matrix.loc["d", "c"] == 3
    assert matrix.to_numpy().sum() == 6
    table = pd.read_parquet(io.BytesIO(file_of(run, "predictions.parquet")))
    assert list(table.columns[3:]) == ["b", "d", "a", "c"]
    assert run.inputs.dataset_inputs[0].dataset.name == "few-all"
    assert r"d/0\udcff.png" in file_of(run, "mistakes.csv").decode()
    assert "eval/f1/c" not in run.data.metrics
    assert run.data.metrics["eval/balanced_accuracy"] == run.data.metrics["eval/accuracy"]


def keep_elsewhere(run: mlflow.entities.Run, mean: float, empty_database: Path, monkeypatch) -> None:
    """Export an evaluation, and import it into another store, where it counts the same."""
    result = invoke("export", run.info.run_id, "--to", "kept")
    assert result.exit_code == 0, result.output
    assert {path.suffix for path in Path("kept", "shapes", run.info.run_name).iterdir()} == {".json", ".csv", ".txt"}
    Path("elsewhere").mkdir()
    copy_database(empty_database, Path("elsewhere"))
    with monkeypatch.context() as other:
        other.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{Path('elsewhere', 'mlflow.db').resolve()}")
        result = invoke("import", "kept")
        assert result.exit_code == 0, result.output
        (one,) = find_evaluations()
        assert (one.robustness, one.images, one.model) == (
            *(mean, 36),
            f"{run.data.tags['tp1.evaluated_name']}, {run.data.tags['tp1.evaluated']}",
        )


def test_harder_images_for_two_models_side_by_side(world, empty_database, monkeypatch):
    run_id, model_id = world.models["cab"]
    given = (f"model={run_id}", f"against={world.models['adcb'][0]}", "dataset=./shapes")
    output = evaluate(*given, "corruptions=all", "seed=3")
    part = world.data.test
    first, second = (
        (np.array(list(classes))[expected(part.images, classes).argmax(axis=1)] == np.array(list("abc"))[part.labels])
        for classes in ("cab", "adcb")
    )
    line = f"{first.mean():.4f} against {second.mean():.4f} on the same 36 test images: difference "
    assert line in output
    run = newest()
    assert run.data.metrics["paired/difference"] == first.mean() - second.mean()
    assert len(run.inputs.model_inputs) == 2
    table = pd.read_csv(io.BytesIO(file_of(run, "corruptions.csv")), index_col=["model", "kind", "strength"])
    means = []
    for kind, corruption in CORRUPTIONS.items():
        accuracies = []
        for strength in range(1, 6):
            images = corrupted(part.images, kind, strength, generator_for(3, kind, strength))
            accuracies.append((expected(images, "abc").argmax(axis=1) == part.labels).mean())
            row = table.loc[f"model {model_id}", kind, strength]
            assert (row["accuracy"], row["amount"]) == (accuracies[-1], corruption.amounts[strength - 1])
        means.append(np.mean(accuracies))
        assert run.data.metrics[f"eval/corruption/{kind}"] == pytest.approx(means[-1])
    mean = run.data.metrics["eval/corruption_accuracy"]
    assert mean == pytest.approx(np.mean(means))
    assert (
        f"model {model_id}: Mean corruption accuracy {mean:.4f}, {run.data.metrics['eval/accuracy']:.4f} on" in output
    )
    html = file_of(run, "evaluation.html").decode()
    assert "Harder images" in html
    assert html.count("Mean corruption accuracy") == 2
    assert line in html
    linked = {metric.key for metric in MlflowClient().get_logged_model(model_id).metrics}
    assert "eval/corruption_accuracy" in linked

    keep_elsewhere(run, mean, empty_database, monkeypatch)
    evaluate(*given, "corruptions=noise,jpeg", "seed=3", "explain=occlusion")
    said = f"the model is surest. {CAPTION} (occlusion)."
    assert said in " ".join(file_of(newest(), "evaluation.html").decode().split())
    again = newest().data.metrics
    assert again["eval/corruption/noise"] == run.data.metrics["eval/corruption/noise"]
    assert "eval/corruption_accuracy" not in again  # of all kinds, or of none


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("model={cab}", "corruptions=fog"), "'fog' is not known. There are none, all, noise, blur, "),
        (("model={cab}", "corruptions=nois"), "'nois' is not known. Did you mean noise?"),
        (("model={cab}", "corruptions=all,blur"), "corruptions=all,blur: give all or none alone, or a list of kinds."),
        (("model={cab}", "explain=gradcam"), "explain=gradcam cannot explain this model: it has no feature maps"),
        (("model={cab}", "seed=-1"), "-1 is not in the range x>=0"),
        (("model=models:/tp1-shapes@best",), "no model models:/tp1-shapes@best in sqlite:///"),
        (("model=" + "0" * 32,), f"no run {'0' * 32} in sqlite:///"),
        (("model=a\udcff\x1b[31m",), r"no model a\udcff\x1b[31m: give models:/NAME@ALIAS, "),
        (("model={cab}", "against=" + "x" * 10_000), "no model xxx"),
        (("model=nowhere",), "no model nowhere: give models:/NAME@ALIAS, "),
        (("model=damaged",), "the model in damaged is refused: its file model.pt2 is not the one that was recorded"),
        (("model={ab}", "dataset=./shapes"), "does not know 1 of the 3 classes of shapes in "),
        (
            ("model={cab}", "against={ab}", "dataset=./shapes"),
            "./shapes: c. It knows a, b. Give a data set without these",
        ),
        (("model={cab}", "dataset=./loose"), "cannot read"),
        (("model={cab}", "dataset=nothing"), "no data set 'nothing'"),
        (("model={cab}", "dataset=./shapes", "part=best"), "'best' is not one of 'test', 'val', 'train', 'all'"),
        (("model={cab}", "dataset=./shapes", "skip_broken=maybe"), "skip_broken"),
        (("dataset=./shapes",), "Missing option '--model'"),
    ],
)
def test_what_cannot_be_is_one_line(world, arguments, message):
    Path("loose").mkdir()
    Image.new("RGB", (32, 32)).save("loose/one.png")
    shutil.copytree(world.folder / "damaged", "damaged")
    ids = {classes: run_id for classes, (run_id, _) in world.models.items()}
    result = invoke("evaluate", *(argument.format(**ids) for argument in arguments))
    assert result.exit_code in (1, 2)
    (line,) = result.stderr.splitlines()
    assert message.replace("./", f"{Path.cwd()}/", 1) in line if message.startswith("./") else message in line
    run = all_runs()[0]
    assert (run.info.status, run.data.metrics) == ("FAILED", {})
