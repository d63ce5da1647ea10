"""Figures and the summary of a network show what they are given."""

import io

import numpy as np
import pytest
from PIL import Image

from tp1.models.classifier import Classifier, Preparation
from tp1.models.cnn import CNNBase
from tp1.models.summary import model_summary
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
    assert "11,994 parameters, 11,994 of them trained, 0 frozen" in text
    assert model.training


@pytest.mark.parametrize(
    "figure",
    [
        curves([HISTORY], "t", 2),
        curves([HISTORY, HISTORY], "t"),
        compared_curves({"a": [HISTORY], "b": [HISTORY, HISTORY]}, "t"),
        published_and_measured([("a", 0.5, 0.6, None), ("b", None, 0.7, 0.01)], "accuracy"),
        confusion_matrix(np.array([[5, 1, 0], [0, 6, 0], [2, 0, 4]]), CLASSES, "t"),
        confusion_matrix(np.eye(25, dtype=int), [str(n) for n in range(25)], "many classes"),
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
