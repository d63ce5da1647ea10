"""Models whose files are damaged or not what they say are refused; predictions of files of any name are text."""

# ruff: noqa: PT017 - a damaged file may also be read, so an error is looked at where there is one

import json
import os
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from tests.conftest import invoke
from tests.support.generated_cases import quick
from tests.support.hostile_files import FILE_NAMES, is_clear, make_special, mutated
from tp1.base.digests import digest
from tp1.base.errors import TP1Error
from tp1.registry.predictor import load_predictor


class Program(nn.Module):
    def __init__(self, classes: int, value: float = 1.0) -> None:
        super().__init__()
        self.classes = classes
        self.register_buffer("value", torch.tensor(value))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.value * images.float().mean((1, 2, 3)).unsqueeze(1).expand(-1, self.classes)


class Overflowing(nn.Module):
    """A program that answers bright images with NaN."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        brightness = images.float().mean((1, 2, 3)).unsqueeze(1)
        return torch.softmax((200 - brightness).sqrt() * torch.arange(3), dim=1)


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Path:
    """pt2 programs as training exports them: of three classes, of one, and two that answer with NaN."""
    folder = tmp_path_factory.mktemp("programs")
    example = np.zeros((2, 8, 8, 3), np.uint8)
    wrong = {"nan": Program(3, float("nan")), "bright": Overflowing()}
    for name, program in {"three": Program(3), "one": Program(1), **wrong}.items():
        mlflow.pytorch.save_model(
            program.eval(), folder / name, serialization_format="pt2", input_example=example, pip_requirements=["torch"]
        )
        shutil.copy(folder / name / "data" / "model.pt2", folder / f"{name}.pt2")
    return folder


def write_model(folder: Path, program: Path, **changed: object) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(program, folder / "model.pt2")
    facts = {"format": 1, "dataset": "small", "classes": list("abc"), "image_shape": [8, 8, 3]}
    facts |= {"sha256": {"model.pt2": digest(folder / "model.pt2")}} | changed
    (folder / "model.json").write_text(json.dumps(facts))
    return folder


@pytest.mark.parametrize(
    ("program", "changed", "message"),
    [
        ("three", {"classes": ["a", "b"]}, "does not take the images, or know the classes"),
        ("one", {}, "does not take the images, or know the classes"),
        ("nan", {}, "answers with NaN or infinity"),
        ("three", {"image_shape": [10**9, 10**9, 3]}, "says that it takes images of 1000000000x1000000000 pixels"),
        ("three", {"image_shape": [-8, 8, 3]}, "says that it takes images of 8x-8 pixels"),
        ("three", {"image_shape": [True, True, 3]}, "does not say which classes"),
        ("three", {"image_shape": [9, 9, 3]}, "does not take the images"),
        ("three", {"classes": ["a", "b", None]}, "does not say which classes"),
        ("three", {"sha256": {"model.pt2": 5}}, "has no SHA-256 of model.pt2"),
    ],
)
def test_a_model_that_is_not_what_it_says_is_refused(programs, tmp_path, program, changed, message):
    assert load_predictor(str(write_model(tmp_path / "m", programs / "three.pt2"))).classes == tuple("abc")
    with pytest.raises(TP1Error, match=message):
        load_predictor(str(write_model(tmp_path / "m", programs / f"{program}.pt2", **changed)))


def test_a_model_that_answers_some_images_with_nan_says_so(programs, tmp_path):
    """Else these would drop out of the calibration error, and count as answers of the first class."""
    predictor = load_predictor(str(write_model(tmp_path / "m", programs / "bright.pt2")))
    images = np.full((5, 8, 8, 3), 100, np.uint8)
    assert predictor.probabilities(images).sum() == pytest.approx(5)
    images[3] = 250
    with pytest.raises(TP1Error, match="the model answers with NaN or infinity: train it anew"):
        predictor.probabilities(images)


def test_a_damaged_model_is_refused(programs, tmp_path, capfd):
    """Also where its record vouches for it: anybody can write that."""
    folder = write_model(tmp_path / "m", programs / "three.pt2")
    facts = json.loads((folder / "model.json").read_text())
    whole = {path: path.read_bytes() for path in folder.iterdir()}

    program, record = folder / "model.pt2", folder / "model.json"
    flips = st.tuples(st.integers(0, len(whole[program]) - 1), st.integers(1, 255))
    changes = st.one_of(
        st.tuples(st.just(record), mutated(whole[record])),
        st.tuples(st.just(program), mutated(whole[program])),
        flips.map(lambda flip: (program, _flipped(whole[program], *flip))),
    )

    @quick(80)
    @given(changes)
    def check(changed):
        path, content = changed
        path.write_bytes(content)
        if path.name == "model.pt2":
            sha256 = {"model.pt2": digest(path)}
            (folder / "model.json").write_text(json.dumps(facts | {"sha256": sha256}))
        try:
            predictor = load_predictor(str(folder))
        except TP1Error as error:
            assert is_clear(error)
        else:
            assert len(predictor.classes) == 3
        finally:
            assert "Traceback" not in capfd.readouterr().err
            for file, content in whole.items():
                file.write_bytes(content)

    check()


def _flipped(content: bytes, place: int, value: int) -> bytes:
    return content[:place] + bytes([content[place] ^ value]) + content[place + 1 :]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["model.json", "model.pt2"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "endless device", "loop"])
def test_a_model_whose_files_are_none_is_refused(programs, tmp_path, name, kind):
    folder = write_model(tmp_path / "m", programs / "three.pt2")
    (folder / name).unlink()
    make_special(folder / name, kind)
    with pytest.raises(TP1Error, match=r"cannot read .*/model\.json|lacks its file model\.pt2"):
        load_predictor(str(folder))


def test_predictions_of_files_of_any_name_are_text(programs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "m", programs / "three.pt2")
    (tmp_path / "photos").mkdir()
    names = set()

    @quick(40)
    @given(FILE_NAMES)
    def check(name):
        names.add(f"x{name}"[:60] + ".png")

    check()
    for name in names:
        Image.new("RGB", (8, 8)).save(tmp_path / "photos" / name, "PNG")
    for format in ("table", "csv", "json"):
        result = invoke("predict", "images=photos", "model=m", f"format={format}", "gallery=page.html")
        assert result.exit_code == 0, result.stderr
        assert all(letter.isprintable() or letter == "\n" for letter in result.stdout)
        if format == "csv":
            assert len(result.stdout.splitlines()) == len(names) + 1
        if format == "json":
            assert {row["image"].removeprefix("photos/") for row in json.loads(result.stdout)} == names
    os.mkfifo("photos/pipe.png")
    result = invoke("predict", "images=photos", "model=m")
    assert result.exit_code == 1
    assert result.stderr.endswith("could not be read: photos/pipe.png (it is no file). Mend or remove them.\n")
