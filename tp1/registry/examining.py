"""Examine stored models: predict labelled images in the data set's own class numbers."""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from tp1.base.progress import progress_bar, say
from tp1.data.corruptions import CORRUPTIONS, corrupted, generator_for
from tp1.data.dataset import Part
from tp1.registry.examined_data import CHUNK
from tp1.registry.examined_model import ExaminedModel
from tp1.report.examination import Examination
from tp1.report.robustness import Robustness

# uint8 (N, H, W, 3) -> float32 (N, classes)
Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def examine(model: ExaminedModel, classes: Sequence[str], images: Part) -> Examination:
    """Predict some images of a data set whose classes the model knows.

    Args:
        classes: The data set's, by class number.
        images: A class without any of them is one that only the model knows.
    """
    present = np.unique(images.labels)
    there = tuple(classes[label] for label in present)
    known = model.predictor.classes
    others = tuple(name for name in known if name not in there)
    predict = in_order(model, (*there, *others))
    found = np.empty((len(images), len(known)), np.float32)
    with progress_bar(len(images), "Predicting") as bar:
        for start in range(0, len(images), CHUNK):
            part = slice(start, start + CHUNK)
            found[part] = predict(images.images[part])
            bar.update(len(images.labels[part]))
    return Examination(there, others, images.index, np.searchsorted(present, images.labels), found)


def in_order(model: ExaminedModel, classes: tuple[str, ...]) -> Predict:
    """Return what predicts images with a model, its classes in another order."""
    columns = [model.predictor.classes.index(name) for name in classes]
    return lambda images: model.probabilities(images)[:, columns]


def examine_harder(
    models: Sequence[ExaminedModel],
    found: Sequence[Examination],
    images: Sequence[Part],
    kinds: Sequence[str],
    seed: int,
) -> list[Robustness]:
    """Measure the accuracy of models on the same corrupted images, in their own size; each model then resizes them.

    Args:
        found: What each model does on the images as they are.
        images: For each model, the same images.
        kinds: Names in :data:`~tp1.data.corruptions.CORRUPTIONS`.
        seed: Of what is drawn.
    """
    predict = [in_order(model, (*one.classes, *one.others)) for model, one in zip(models, found, strict=True)]
    strengths = [(kind, strength) for kind in kinds for strength in range(1, len(CORRUPTIONS[kind].amounts) + 1)]
    right: list[dict[str, list[int]]] = [{kind: [0] * len(CORRUPTIONS[kind].amounts) for kind in kinds} for _ in models]
    # Models of one size share their images, which are corrupted once.
    shared = [
        (part, [number for number, own in enumerate(images) if own is part])
        for part in {id(part): part for part in images}.values()
    ]
    count = len(images[0])
    say(f"Predicting {count:,} images {len(strengths)} times more, corrupted.")
    with progress_bar(len(strengths) * count * len(shared), "Harder images") as bar:
        for (kind, strength), (part, numbers) in product(strengths, shared):
            generator = generator_for(seed, kind, strength)
            for start in range(0, count, CHUNK):
                rows = slice(start, start + CHUNK)
                harder = corrupted(part.images[rows], kind, strength, generator)
                for number in numbers:
                    answers = predict[number](harder).argmax(axis=1)
                    right[number][kind][strength - 1] += int((answers == found[number].true[rows]).sum())
                bar.update(len(harder))
    return [
        Robustness(one.accuracy, {kind: tuple(hits / count for hits in counts) for kind, counts in by.items()})
        for one, by in zip(found, right, strict=True)
    ]
