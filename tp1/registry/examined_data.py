"""The labelled images that stored models are examined on, and which of them the models were trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mlflow.entities import DatasetInput
from numpy.typing import NDArray

from tp1.base.errors import TP1Error
from tp1.base.names import some
from tp1.data.dataset import Part, load_data
from tp1.data.image_digests import image_digests
from tp1.registry.examined_model import ExaminedModel, resized
from tp1.tracking.datasets import dataset_inputs, whole_input

PARTS = ("test", "val", "train", "all")
NAMES = {"test": "test images", "val": "validation images", "train": "training images", "all": "images"}
MOST_NAMED = 5  # classes in a message; the others are counted
CHUNK = 512  # images that are resized at once


@dataclass(frozen=True)
class ExaminedData:
    """A part of a data set.

    Attributes:
        name: The data set's name, such as ``cifar10``.
        origin: The path or URL that the images come from.
        classes: Names of the classes, by class number.
        part: One of :data:`PARTS`.
        images: Its images, as a :class:`~tp1.data.dataset.Part`.
        names: Names of all images of the data set, sorted; ``images.index`` are positions in it.
        digest, split_digest: Digests of the files' content and of the split.
        input: The same for MLflow.
    """

    name: str
    origin: str
    classes: tuple[str, ...]
    part: str
    images: Part = field(repr=False)
    names: Sequence[str] = field(repr=False)
    digest: str
    split_digest: str
    input: DatasetInput = field(repr=False)

    def __str__(self) -> str:
        count = len(self.images)
        what = NAMES[self.part] if count != 1 else NAMES[self.part].removesuffix("s")
        return f"{'all ' * (self.part == 'all')}{count:,} {what} of {self.name}"


def load_part(dataset: str, part: str, given: Path | None, side: int, reading: Mapping[str, str]) -> ExaminedData:
    """Load a part of a data set.

    Args:
        dataset: Its name or path, as :func:`~tp1.data.dataset.load_data` takes it.
        part: One of :data:`PARTS`.
        given: The data directory; None: the default.
        side: Pixels per side to which images are resized that differ in size or are large photographs.
        reading: How the data set is read (:attr:`~tp1.config.TrainConfig.reading`).

    Raises:
        TP1Error: The data set is missing, unreadable or too small, or has no labels.
    """
    data = load_data(dataset, given, side, **reading)
    parts = {"train": data.train, "val": data.val, "test": data.test}
    if part == "all":
        labels = np.empty(len(data.pixels), np.int64)
        for one in parts.values():
            labels[one.index] = one.labels
        rows = np.sort(np.concatenate([one.index for one in parts.values()]))
        images = Part(rows, data.pixels[rows], labels[rows])
        own = whole_input(data, images)
    else:
        images, own = parts[part], dataset_inputs(data)[part]
    return ExaminedData(
        data.name, data.origin, data.classes, part, images, data.names, data.digest, data.split_digest, own
    )


def check_classes_known(model: ExaminedModel, data: ExaminedData) -> None:
    """Raise TP1Error if the data set has classes that the model does not know; others and another order are fine."""
    unknown = [name for name in data.classes if name not in model.predictor.classes]
    if unknown:
        raise TP1Error(
            f"{model.title} does not know {len(unknown):,} of the {len(data.classes):,} classes of {data.name} in "
            f"{data.origin}: {some(unknown, MOST_NAMED)}. It knows {some(model.predictor.classes, MOST_NAMED)}. Take "
            "these folders out, or train a model with them."
        )


def unseen_images(data: ExaminedData, models: Sequence[ExaminedModel]) -> tuple[Part, list[str]]:
    """Return the images to examine the models on, and sentences about them.

    Of test and validation images, those that a model was trained on are left out.

    Raises:
        TP1Error: None are left; or the data set is a model's own, and they are not its own test or validation images.
    """
    trained_on = [_trained_on(model, data) for model in models]
    remarks = [_remark(model, rows) for model, rows in zip(models, trained_on, strict=True)]
    images = data.images
    shape = images.images.shape[1:]
    remarks += [
        f"Images are resized from {shape[1]}x{shape[0]} pixels to what {model.title} takes, {size[1]}x{size[0]}."
        for model in models
        if (size := model.predictor.image_shape) != shape
    ]
    known = [rows for rows in trained_on if rows is not None]
    if data.part not in ("test", "val") or not known:
        return images, remarks
    keep = ~np.any(known, axis=0)
    if not keep.any():
        raise TP1Error(
            f"{' and '.join(model.title for model in models)} learned from all {NAMES[data.part]} of {data.name} in "
            f"{data.origin}: nothing is left to evaluate on."
        )
    if keep.all():
        return images, remarks
    remarks.append(f"Images of the training are left out: what follows is of the other {keep.sum():,}.")
    return Part(images.index[keep], images.images[keep], images.labels[keep]), remarks


def _remark(model: ExaminedModel, rows: NDArray[np.bool_] | None) -> str:
    if rows is None:
        return f"Which images {model.title} was trained on is not known."
    return f"{model.title} was trained on {f'{rows.sum():,}' if rows.any() else 'none'} of them."


def _trained_on(model: ExaminedModel, data: ExaminedData) -> NDArray[np.bool_] | None:
    """Mark the images that a model was trained on, by the identity of data and split, else by pixels; None: unknown."""
    if data.part in ("test", "val") and data.digest == model.data_digest:
        if data.split_digest == model.split_digest:
            return np.zeros(len(data.images), bool)
        ways = " ".join(f"{name}={value}" for name, value in model.reading.items())
        raise TP1Error(
            f"{data.name} in {data.origin} is split in another way (split digest {data.split_digest}) than when "
            f"{model.title} was trained on it ({model.split_digest}), so that these are not its {NAMES[data.part]}: "
            f"give {ways or 'the parameters of its run for reading the data set'}."
        )
    if data.part == "val" and not model.data_digest and data.name == model.predictor.dataset:
        raise TP1Error(
            f"it is not known which validation images of {data.name} are {model.title}'s own: give the model by its "
            "run or its name in the registry, or download it anew."
        )
    if model.trained_on is None:
        return None
    pixels, shape = data.images.images, model.predictor.image_shape
    found = [
        np.isin(image_digests(resized(pixels[start : start + CHUNK], shape)), model.trained_on)
        for start in range(0, len(pixels), CHUNK)
    ]
    return np.concatenate(found)
