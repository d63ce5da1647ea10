"""Metrics, predictions and the confusion matrix of a classifier are what scikit-learn makes of them."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss

from tests.conftest import coloured_images
from tp1.base.errors import TP1Error
from tp1.data.dataset import Part
from tp1.models.classifier import Classifier, Preparation
from tp1.models.cnn import CNNBase
from tp1.training.inference import EVALUATION_BATCH, evaluate, predict_logits

CLASSES = ("a", "b", "c")


@pytest.fixture
def classifier():
    torch.manual_seed(3)
    return Classifier(CNNBase(3), CLASSES, Preparation(32, (0.5,) * 3, (0.25,) * 3))


@pytest.fixture
def part():
    pixels = np.concatenate([coloured_images(label, 30, 32, 5) for label in range(3)])
    return Part(np.arange(100, 190), pixels, np.repeat(np.arange(3), 30))


def test_metrics_are_scikit_learns(classifier, part):
    evaluation = evaluate(classifier, part, CLASSES)
    metrics = evaluation.metrics()
    assert metrics["test/accuracy"] == accuracy_score(part.labels, evaluation.predicted)
    assert metrics["test/f1_macro"] == pytest.approx(f1_score(part.labels, evaluation.predicted, average="macro"))
    assert metrics["test/loss"] == pytest.approx(log_loss(part.labels, evaluation.probabilities), rel=1e-5)
    per_class = f1_score(part.labels, evaluation.predicted, average=None)
    assert [metrics[f"test/f1/{name}"] for name in CLASSES] == pytest.approx(per_class.tolist())
    averages = {f"test/{name}_{average}" for name in ("precision", "recall", "f1") for average in ("macro", "weighted")}
    assert averages <= set(metrics)


def test_predictions_are_a_row_per_image(classifier, part):
    evaluation = evaluate(classifier, part, CLASSES)
    table = evaluation.predictions()
    assert list(table.columns) == ["index", "true", "predicted", *CLASSES]
    assert table["index"].tolist() == list(range(100, 190))
    assert (table[list(CLASSES)].to_numpy().argmax(axis=1) == table["predicted"]).all()
    assert table["a"].dtype == np.float32


def test_rows_of_the_confusion_matrix_are_the_true_classes(classifier, part):
    matrix = evaluate(classifier, part, CLASSES).confusion()
    assert matrix.sum(axis=1).tolist() == [30, 30, 30]


def test_a_class_that_is_never_predicted_has_zero_precision_not_an_error(classifier, part):
    classifier.net.head[-1].bias.data[0] = -1e6
    evaluation = evaluate(classifier, part, CLASSES)
    assert evaluation.metrics()["test/precision/a"] == 0


def test_batches_do_not_show(classifier, part):
    pixels = np.concatenate([part.images] * 3)
    assert len(pixels) > EVALUATION_BATCH
    logits = predict_logits(classifier, pixels)
    assert torch.allclose(logits[:90], logits[90:180], atol=1e-5)
    assert len(logits) == len(pixels)


@pytest.mark.parametrize("classes", [("a", "b", "x"), ("b", "a", "c"), ("a", "b")])
def test_other_class_names_than_the_models_are_refused(classifier, part, classes):
    with pytest.raises(TP1Error, match="the model and the data set have different classes"):
        evaluate(classifier, part, classes)
