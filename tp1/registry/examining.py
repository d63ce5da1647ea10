"""Examine stored models: predict labelled images in the data set's own class numbers."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tp1.base.progress import progress_bar
from tp1.data.dataset import Part
from tp1.registry.examined_data import CHUNK, ExaminedData
from tp1.registry.examined_model import ExaminedModel
from tp1.report.examination import Examination

# uint8 (N, H, W, 3) -> float32 (N, classes)
Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def examine(model: ExaminedModel, data: ExaminedData, images: Part) -> Examination:
    """Predict some images of a data set whose classes the model knows.

    Args:
        images: Of ``data``. A class without any of them is one that only the model knows.
    """
    present = np.unique(images.labels)
    classes = tuple(data.classes[label] for label in present)
    known = model.predictor.classes
    others = tuple(name for name in known if name not in classes)
    predict = in_order(model, (*classes, *others))
    found = np.empty((len(images), len(known)), np.float32)
    with progress_bar(len(images), "Predicting") as bar:
        for start in range(0, len(images), CHUNK):
            part = slice(start, start + CHUNK)
            found[part] = predict(images.images[part])
            bar.update(len(images.labels[part]))
    return Examination(classes, others, images.index, np.searchsorted(present, images.labels), found)


def in_order(model: ExaminedModel, classes: tuple[str, ...]) -> Predict:
    """Return what predicts images with a model, its classes in another order."""
    columns = [model.predictor.classes.index(name) for name in classes]
    return lambda images: model.probabilities(images)[:, columns]
