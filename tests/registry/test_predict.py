"""`predict` as a command, on images of every kind: what it prints and writes, and the run that it may be."""

import csv
import io
import json
import re
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from tests.conftest import invoke

CLASSES = tuple("0123456789")


def expected(model: str, images: np.ndarray) -> np.ndarray:
    """Probabilities by MLflow's own way to use the model."""
    found: np.ndarray = mlflow.pyfunc.load_model(model).predict(images)
    return found


def test_arrays_files_and_folders_give_the_models_own_probabilities(model, digits, labelled):
    images, labels = digits
    np.save("digits.npy", images)
    probabilities = expected(model, images)
    rows = json.loads(invoke("predict", "images=digits.npy", f"model={model}", "top=10", "format=json").stdout)
    assert [row["image"] for row in rows] == [f"digits.npy[{row}]" for row in range(100)]
    for row, values in zip(rows, probabilities, strict=True):
        found = {one["class"]: one["probability"] for one in row["predictions"]}
        np.testing.assert_allclose([found[name] for name in CLASSES], values, atol=2e-6)
        assert list(found.values()) == sorted(found.values(), reverse=True)
        assert "true" not in row
    result = invoke("predict", "images=labelled", f"model={model}", "top=10", "format=json")
    assert result.exit_code == 0, result.output
    by_name = {row["image"]: row for row in json.loads(result.stdout)}
    assert list(by_name) == sorted(by_name)
    for number, label in enumerate(labels):
        row = by_name[f"labelled/{label}/{number:03d}.png"]
        assert row["true"] == str(label)
        assert row["predictions"] == rows[number]["predictions"]
    right = int((probabilities.argmax(axis=1) == labels).sum())
    assert 50 < right < 100  # it has learned something, and not everything
    assert f"Accuracy {right / 100:.4f} ({right} of 100 images)." in result.stderr


def test_csv_has_what_json_has(model, labelled):
    result = invoke("predict", "images=labelled", f"model={model}", "top=2", "format=csv")
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert list(rows[0]) == ["image", "true", "class_1", "probability_1", "class_2", "probability_2"]
    same = json.loads(invoke("predict", "images=labelled", f"model={model}", "top=2", "format=json").stdout)
    assert len(rows) == len(same) == 100
    for row, other in zip(rows, same, strict=True):
        first, second = other["predictions"]
        assert (row["image"], row["true"]) == (other["image"], other["true"])
        assert (row["class_1"], float(row["probability_1"])) == (first["class"], first["probability"])
        assert (row["class_2"], float(row["probability_2"])) == (second["class"], second["probability"])


def test_the_table_shows_the_most_probable_classes(model, digits):
    images, _ = digits
    np.save("digits.npy", images[:5])
    result = invoke("predict", "images=digits.npy", f"model={model}")
    assert result.exit_code == 0, result.output
    head, *lines = result.stdout.splitlines()
    assert head.split() == ["image", "class", "1", "p", "class", "2", "p", "class", "3", "p"]
    for number, (line, values) in enumerate(zip(lines, expected(model, images[:5]), strict=True)):
        best = np.argsort(-values)[:3]
        assert line.split() == [
            f"digits.npy[{number}]", *(part for one in best for part in (str(one), f"{values[one]:.3f}"))
        ]  # fmt: skip
    assert result.stderr == ""


def test_more_classes_than_there_are_is_all_of_them(model, digits):
    np.save("one.npy", digits[0][0])
    result = invoke("predict", "images=one.npy", f"model={model}", "top=99", "format=csv")
    assert result.stdout.splitlines()[0].endswith("class_10,probability_10")


def test_a_long_table_is_cut_and_it_says_where_all_is(model):
    np.save("many.npy", np.zeros((501, 32, 32, 3), np.uint8))
    result = invoke("predict", "images=many.npy", f"model={model}", "top=1")
    assert len(result.stdout.splitlines()) == 501  # with the heading
    assert "500 of 501 rows; to=FILE.csv and to=FILE.json have all." in result.stderr
    result = invoke("predict", "images=many.npy", f"model={model}", "top=1", "to=all.txt")
    assert result.stdout == ""
    assert len(Path("all.txt").read_text(encoding="utf-8").splitlines()) == 502


def test_to_writes_what_its_name_asks_for(model, digits):
    np.save("digits.npy", digits[0][:3])
    shown = invoke("predict", "images=digits.npy", f"model={model}", "format=json").stdout
    for to, format, start in (("a/b.json", (), "[\n"), ("c.csv", (), "image,"), ("d.csv", ("format=json",), "[\n")):
        result = invoke("predict", "images=digits.npy", f"model={model}", f"to={to}", *format)
        assert (result.exit_code, result.stdout) == (0, ""), result.output
        assert f"Written to {to}" in result.stderr
        assert Path(to).read_text(encoding="utf-8").startswith(start)
    assert Path("a/b.json").read_text(encoding="utf-8") == Path("d.csv").read_text(encoding="utf-8") == shown


def test_several_paths_in_one_option_or_in_more(model, digits):
    for name in ("a.png", "b,c.png"):
        Image.fromarray(digits[0][0]).save(name)
    np.save("d.npy", digits[0][:2])
    names = ["b,c.png", "a.png", "d.npy[0]", "d.npy[1]"]
    result = invoke(
        "predict", "images=b,c.png", "images=a.png,d.npy", "--images", "a.png", f"model={model}", "format=json"
    )
    assert [row["image"] for row in json.loads(result.stdout)] == names


def test_images_of_other_sizes_are_resized_which_is_said_once(model, digits):
    for number, side in enumerate((32, 64, 100)):
        Image.fromarray(digits[0][0]).resize((side, side)).save(f"{number}.png")
    result = invoke("predict", "images=0.png,1.png,2.png", f"model={model}", "format=json")
    assert result.stderr == "2 images were resized to 32x32.\n"
    classes = {row["predictions"][0]["class"] for row in json.loads(result.stdout)}
    assert classes == {str(expected(model, digits[0][:1]).argmax())}


def test_unreadable_files_are_named_at_the_end_and_the_others_predicted(model, digits):
    Image.fromarray(digits[0][0]).save("good.png")
    Path("bad\n.png").write_text("no image", encoding="utf-8")
    result = invoke("predict", "images=good.png,bad\n.png", f"model={model}", "format=json", "gallery=page.html")
    assert result.exit_code == 1
    assert [row["image"] for row in json.loads(result.stdout)] == ["good.png"]
    assert Path("page.html").is_file()
    last = result.stderr.splitlines()[-1]
    assert last == r"Error: 1 of 2 images could not be read: bad\n.png (not an image). Mend or remove them."


def test_of_many_unreadable_files_ten_are_named(model, digits):
    for number in range(12):
        Path(f"{number:02d}.png").write_text("no image", encoding="utf-8")
    result = invoke("predict", "images=.", f"model={model}", "format=json")
    assert (result.exit_code, result.stdout) == (1, "")  # nothing is left to predict
    assert result.stderr.startswith("Error: 12 of 12 images could not be read: 00.png (not an image); 01.png")
    assert "09.png (not an image); and 2 more. Mend or remove them." in result.stderr
    assert "10.png" not in result.stderr


def test_a_gallery_of_a_labelled_folder(model, labelled):
    result = invoke("predict", "images=labelled", f"model={model}", "gallery=pages/page.html", "top=1")
    assert result.exit_code == 0, result.output
    accuracy = re.search(r"Accuracy .* images\)\.", result.stderr)
    assert accuracy is not None
    html = Path("pages/page.html").read_text(encoding="utf-8")
    assert accuracy[0] in html
    assert html.count("<img ") == 100
    wrong = len(re.findall("✗", result.stdout))
    assert html.count('<li class="wrong">') == wrong > 0


def test_predicting_is_no_run_of_its_own(model, digits):
    np.save("digits.npy", digits[0][:2])
    before = len(mlflow.search_runs(search_all_experiments=True))
    assert invoke("predict", "images=digits.npy", f"model={model}").exit_code == 0
    assert len(mlflow.search_runs(search_all_experiments=True)) == before > 0


def started_run(monkeypatch) -> str:
    """A run as `mlflow run` starts one."""
    run_id: str = MlflowClient().create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    return run_id


def artifact(run_id: str, name: str) -> str:
    text: str = mlflow.artifacts.load_text(f"runs:/{run_id}/{name}")
    return text


def test_the_run_that_mlflow_run_has_started_is_taken_up(model, labelled, monkeypatch):
    run_id = started_run(monkeypatch)
    result = invoke("predict", "images=labelled", f"model={model}", "format=csv", "gallery=page.html")
    assert result.exit_code == 0, result.output
    run = MlflowClient().get_run(run_id)
    assert (run.info.status, run.data.tags["tp1.experiment"]) == ("FINISHED", "predict")
    assert artifact(run_id, "predictions.csv") == result.stdout
    assert artifact(run_id, "gallery.html") == Path("page.html").read_text(encoding="utf-8")
    note = run.data.tags["mlflow.note.content"]
    assert re.search(r"Accuracy 0\.\d+ \(\d+ of 100 images\)\.", note)
    assert f"mlflow run . -e predict -P images=labelled -P model={model} -P top=3 -P format=csv" in note


def test_a_run_with_an_unreadable_file_fails_after_the_others(model, digits, monkeypatch):
    Image.fromarray(digits[0][0]).save("good.png")
    Path("bad.png").write_text("no image", encoding="utf-8")
    run_id = started_run(monkeypatch)
    assert invoke("predict", "images=good.png,bad.png", f"model={model}").exit_code == 1
    assert MlflowClient().get_run(run_id).info.status == "FAILED"
    assert "bad.png (not an image)" in artifact(run_id, "error.txt")
    assert "good.png" in artifact(run_id, "predictions.csv")
    assert {item.path for item in MlflowClient().list_artifacts(run_id)} == {"error.txt", "predictions.csv"}


def test_a_run_with_bad_arguments_fails(model, monkeypatch):
    run_id = started_run(monkeypatch)
    assert invoke("predict", "images=a.png", f"model={model}", "top=0").exit_code == 2
    assert MlflowClient().get_run(run_id).info.status == "FAILED"
    assert "top" in artifact(run_id, "error.txt")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("model=downloaded",), "Missing option '--images'."),
        (("images=one.npy",), "Missing option '--model'."),
        (("images=one.npy", "model=downloaded", "top=0"), "0 is not in the range x>=1"),
        (("images=one.npy", "model=downloaded", "format=xml"), "'xml' is not one of 'table', 'json', 'csv'"),
        (("images=one.npy,", "model=downloaded"), "'one.npy,' has an empty path in it."),
        (("images=gone.png", "model=downloaded"), "no file or folder gone.png: check images=."),
        (("images=empty", "model=downloaded"), "no images in the folder empty (.bmp"),
        (("images=wrong.npy", "model=downloaded"), "the array in wrong.npy is float64 (2, 2): give uint8 images"),
        (("images=one.npy", "model=gone"), "no model gone: give models:/NAME@ALIAS"),
        (("images=one.npy", "model=empty"), "cannot read empty/model.json (No such file or directory)"),
        (("images=one.npy", "model=models:/x@champion"), "the tracking server at http://127.0.0.1:9 does not answer"),
        (("images=one.npy", "model=downloaded", "to=one.npy/a.csv"), "Choose another with to=."),
        (("images=one.npy", "model=downloaded", "gallery=one.npy/a"), "Choose another with gallery=."),
        (("images=one.npy", "model=downloaded", "to=empty"), "File 'empty' is a directory."),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(downloaded, arguments, message):
    Path("empty").mkdir()
    np.save("one.npy", np.zeros((32, 32, 3), np.uint8))
    np.save("wrong.npy", np.zeros((2, 2)))
    result = invoke("predict", *arguments)
    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
