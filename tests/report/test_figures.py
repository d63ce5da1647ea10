"""Figures and the summary of a network show what they are given."""

import io

import numpy as np
import pytest
from PIL import Image

from tp1.models.classifier import Classifier, Preparation
from tp1.models.cnn import CNNBase
from tp1.models.summary import model_summary
from tp1.report.figure_files import plain_png
from tp1.report.figures import (
    class_distribution,
    compared_curves,
    confusion_matrix,
    curves,
    published_and_measured,
    sample_images,
)

CLASSES = ("a", "b", "c")
HISTORY = {f"{part}/{name}": [0.5, 0.6] for part in ("train", "val") for name in ("loss", "accuracy")}


def test_the_summary_lists_layers_shapes_and_parameters():
    model = Classifier(CNNBase(10), tuple("0123456789"), Preparation(32, (0.5,) * 3, (0.25,) * 3))
    text = model_summary(model, (32, 32, 3))
    assert "net.features.0  Conv2d       N x 8 x 30 x 30          224" in text
    assert "24,282 parameters, 24,282 of them trained, 0 frozen" in text
    assert model.training


@pytest.mark.parametrize(
    "figure",
    [
        curves([HISTORY], "t", 2),
        curves([HISTORY, HISTORY], "t"),
        compared_curves([("a", [HISTORY]), ("b", [HISTORY, HISTORY])], "t"),
        published_and_measured([("a", 0.5, 0.6, None), ("b", None, 0.7, 0.01)], "accuracy"),
        confusion_matrix(np.array([[5, 1, 0], [0, 6, 0], [2, 0, 4]]), CLASSES, "t"),
        pytest.param(
            confusion_matrix(np.eye(25, dtype=int), [str(n) for n in range(25)], "many classes"),
            marks=pytest.mark.long,
        ),
        pytest.param(
            confusion_matrix(
                np.eye(300, dtype=int) * 3 + np.eye(300, k=1, dtype=int), [f"${n}" for n in range(300)], "t"
            ),
            marks=pytest.mark.long,
        ),
        pytest.param(
            class_distribution({"train": range(50, 150), "test": [3] * 100}, [str(n) for n in range(100)], "t"),
            marks=pytest.mark.long,
        ),
        sample_images(np.zeros((3, 4, 8, 8, 3), np.uint8), CLASSES, "t"),
        class_distribution({"train": [5, 6, 7], "test": [1, 2, 3]}, CLASSES, "t"),
    ],
)
def test_a_figure_is_drawn(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png")
    assert len(np.unique(np.asarray(Image.open(file)).reshape(-1, 4), axis=0)) > 10


def test_the_confusion_matrix_shows_every_count():
    figure = confusion_matrix(np.array([[5, 1], [0, 62]]), ("cat", "dog"), "t")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["5", "1", "0", "62"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["cat", "dog"]


def test_counts_have_whole_numbers_on_the_axis():
    names = [str(number) for number in range(60)]
    few = confusion_matrix(np.eye(60, k=1, dtype=int), names, "t").axes[1]
    assert all(tick == round(tick) for tick in few.get_xticks())
    for classes in (names, names[:3]):
        for axes in class_distribution({"train": [2] * len(classes), "test": [1] * len(classes)}, classes, "t").axes:
            ticks = axes.get_yticks() if len(classes) > 40 else axes.get_xticks()
            assert all(tick == round(tick) for tick in ticks)


def test_names_in_any_script_are_drawn_with_what_fonts_there_are(recwarn, monkeypatch):
    """Of these characters, STIXGeneral, which comes with matplotlib, has only one; its own first font has none."""

    def drawn() -> bytes:
        return plain_png(class_distribution({"train": [1, 2, 3]}, ("日本", "の", "été"), "t"))

    alone = drawn()
    monkeypatch.setattr("tp1.report.fonts.FAMILIES", ("no such font", "STIXGeneral"))
    assert drawn() != alone
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize("classes", [41, 1000, 2000])
def test_figures_of_many_classes_have_a_bounded_size(classes):
    matrix = np.random.default_rng(0).integers(0, 10, (classes, classes))
    names = [f"class {number}" for number in range(classes)]
    figure = confusion_matrix(matrix, names, "t")
    assert figure.get_size_inches().tolist() == [14, 7]
    whole, most = figure.axes[:2]
    assert whole.images[0].get_array().shape[0] <= 700
    assert len(most.patches) == 25
    off = matrix - np.diag(np.diag(matrix))
    true, other = np.unravel_index(off.argmax(), off.shape)
    assert most.get_yticklabels()[0].get_text() == f"class {true} → class {other}"
    assert class_distribution({"train": [1] * classes}, names, "t").get_size_inches()[1] < 4


def test_a_single_confusion_of_a_thousand_classes_is_on_the_map():
    matrix = np.diag(np.full(1000, 5))
    matrix[3, 997] = 5
    shown = confusion_matrix(matrix, [str(n) for n in range(1000)], "t").axes[0].images[0].get_array()
    assert (shown > 0).sum() == 701  # the diagonal, and it
