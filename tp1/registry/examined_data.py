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
from tp1.data.stored import Stored
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
        notes: Sentences about what was read that may not be as expected.
        is_resized: Whether images were resized when they were decoded.
        digest, split_digest: Digests of the files' content and of the split.
        input: The same for MLflow.
    """

    name: str
    origin: str
    classes: tuple[str, ...]
    part: str
    images: Part = field(repr=False)
    names: Sequence[str] = field(repr=False)
    notes: Sequence[str]
    is_resized: bool
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
        pixels = data.pixels  # read when they are asked for: all of them may not fit in memory
        stored = Stored(rows, pixels.shape[1:], pixels.dtype, lambda chosen: pixels[chosen], beyond_memory=False)
        images = Part(rows, stored, labels[rows])
        own = whole_input(data, images)
    else:
        images, own = parts[part], dataset_inputs(data)[part]
    return ExaminedData(
        name=data.name,
        origin=data.origin,
        classes=data.classes,
        part=part,
        images=images,
        names=data.names,
        notes=data.reading.notes(),
        is_resized=data.is_resized,
        digest=data.digest,
        split_digest=data.split_digest,
        input=own,
    )


def load_parts(
    models: Sequence[ExaminedModel], dataset: str, part: str, given: Path | None, reading: Mapping[str, str]
) -> list[ExaminedData]:
    """Load a part of a data set for each model, its images in the size that the model was trained with.

    Args:
        models, dataset, part, given, reading: See :func:`load_part`.

    Returns:
        For each model the same images; the same object where the pixels are the same.
    """
    sides = [max(model.predictor.image_shape[:2]) for model in models]
    by_side = {side: load_part(dataset, part, given, side, reading) for side in dict.fromkeys(sides)}
    first, *others = [by_side[side] for side in sides]
    return [first, *(first if one.images.images.shape == first.images.images.shape else one for one in others)]


def check_classes_known(model: ExaminedModel, data: ExaminedData) -> None:
    """Raise TP1Error if the data set has classes that the model does not know; others and another order are fine."""
    unknown = [name for name in data.classes if name not in model.predictor.classes]
    if unknown:
        raise TP1Error(
            f"{model.title} does not know {len(unknown):,} of the {len(data.classes):,} classes of {data.name} in "
            f"{data.origin}: {some(unknown, MOST_NAMED)}. It knows {some(model.predictor.classes, MOST_NAMED)}. Give "
            "a data set without these, or a model that knows them."
        )


def unseen_images(data: Sequence[ExaminedData], models: Sequence[ExaminedModel]) -> tuple[list[Part], list[str]]:
    """Return the images to examine the models on, and sentences about them.

    Of test and validation images, those that any of the models was trained on are left out.

    Args:
        data: For each model, as :func:`load_parts` returns them.

    Returns:
        For each model, the same images; and the sentences.

    Raises:
        TP1Error: None are left; or the data set is the first model's own, and they are not its own test or validation
            images.
    """
    first = data[0]
    _check_own_split(models[0], first)
    trained_on = [_trained_on(model, one) for model, one in zip(models, data, strict=True)]
    remarks = [*first.notes]
    for model, one, rows in zip(models, data, trained_on, strict=True):
        remarks.append(_remark(model, one, rows))
        shape, size = one.images.images.shape[1:], model.predictor.image_shape
        if size != shape:
            was = f"{shape[1]}x{shape[0]}"
            remarks.append(f"Images are resized from {was} pixels to what {model.title} takes, {size[1]}x{size[0]}.")
    known = [rows for rows in trained_on if rows is not None]
    keep = ~np.any(known, axis=0) if known else np.ones(len(first.images), bool)
    if first.part not in ("test", "val") or keep.all():
        return [one.images for one in data], remarks
    if not keep.any():
        raise TP1Error(
            f"{' and '.join(model.title for model in models)} learned from all {NAMES[first.part]} of {first.name} in "
            f"{first.origin}: nothing is left to evaluate on."
        )
    remarks.append(f"Images of the training are left out: what follows is of the other {keep.sum():,}.")
    kept = {id(one): one.images.chosen(keep) for one in data}
    return [kept[id(one)] for one in data], remarks


def _check_own_split(model: ExaminedModel, data: ExaminedData) -> None:
    """Raise TP1Error if the data set is the model's own, and its test or validation images cannot be told."""
    if data.part not in ("test", "val"):
        return
    if data.digest == model.data_digest and data.split_digest != model.split_digest:
        ways = " ".join(f"{name}={value}" for name, value in model.reading.items())
        raise TP1Error(
            f"{data.name} in {data.origin} is split in another way (split digest {data.split_digest}) than when "
            f"{model.title} was trained on it ({model.split_digest}), so that these are not its {NAMES[data.part]}: "
            f"give {ways or 'the parameters of its run for reading the data set'}."
        )
    if data.part == "val" and not model.data_digest and data.name == model.predictor.dataset:
        raise TP1Error(
            f"it is not known which validation images of {data.name} are {model.title}'s own: give the model by its "
            "run or its name in the registry, download it anew, or, where its run was deleted, give part=test."
        )


def is_own(model: ExaminedModel, data: ExaminedData) -> bool:
    """Whether a model was trained on this data set, split in this way."""
    return bool(model.data_digest) and (data.digest, data.split_digest) == (model.data_digest, model.split_digest)


def _remark(model: ExaminedModel, data: ExaminedData, rows: NDArray[np.bool_] | None) -> str:
    if data.part in ("test", "val") and is_own(model, data):
        return f"{model.title} was trained on the training images of the same data set."
    if rows is None:
        return f"Which images {model.title} was trained on is not known."
    return f"{model.title} was trained on {f'{rows.sum():,}' if rows.any() else 'none'} of them."


def _trained_on(model: ExaminedModel, data: ExaminedData) -> NDArray[np.bool_] | None:
    """Mark the images that a model was trained on, by the identity of data and split, else by pixels; None: unknown."""
    if data.part != "all" and is_own(model, data):
        return np.full(len(data.images), data.part == "train")
    pixels, shape = data.images.images, model.predictor.image_shape
    # Images that were made square and then oblong are not the pixels that an oblong model was trained on.
    if model.trained_on is None or (data.is_resized and shape[0] != shape[1]):
        return None
    found = [
        np.isin(image_digests(resized(pixels[start : start + CHUNK], shape)), model.trained_on)
        for start in range(0, len(pixels), CHUNK)
    ]
    return np.concatenate(found)
