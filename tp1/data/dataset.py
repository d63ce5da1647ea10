"""From a data set's name to the arrays that training and evaluation take."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from tp1.base.errors import TP1Error
from tp1.base.names import user_path
from tp1.base.progress import say
from tp1.data.cache import Images, MixedSizesError, cache_dir, check_images_fit, load_images
from tp1.data.image_folder import ImageFolder
from tp1.data.sources import find_source
from tp1.data.splits import split

RESERVED_NAMES = ("index", "true", "predicted", "accuracy", "micro avg", "macro avg", "weighted avg")
LONGEST_CLASS = 200  # characters; MLflow allows 250 for the metric test/precision/<class>
FULL_SIZES = {"cifar10": 60_000, "eurosat": 27_000}


@dataclass(frozen=True)
class Part:
    """Images of one part of the split.

    Attributes:
        index: (N,) each image's row in the data set's sorted names.
        images: uint8 RGB (N, H, W, 3), or float16 features (N, C, h, w) in their place.
        labels: (N,) class numbers.
    """

    index: NDArray[np.int64]
    images: NDArray[Any]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ImageData:
    """A data set, split into training, validation and test part.

    Attributes:
        name: Such as ``cifar10``.
        origin: The path or URL that the images come from.
        classes: Names of the classes, by class number.
        pixels: All images in the order of their names, as a read-only memory map: uint8 (N, H, W, 3).
        train, val, test: The parts.
        digest: Digest of the files' content (16 hex digits).
        split_digest: Digest of the names in each part (16 hex digits).
        mean, std: Mean and standard deviation of the training images' channels R, G and B, on a scale of 0 to 1.
    """

    name: str
    origin: str
    classes: tuple[str, ...]
    pixels: NDArray[np.uint8]
    train: Part
    val: Part
    test: Part
    digest: str
    split_digest: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, 3) of every image."""
        height, width, channels = self.pixels.shape[1:]
        return height, width, channels


def data_dir(given: Path | None) -> Path:
    """The folder of data sets: ``given``, else ``$TP1_DATA_DIR``, else the user cache directory."""
    return user_path(given or os.environ.get("TP1_DATA_DIR") or user_cache_path("tp1-data"))


def load_data(dataset: str, given_data_dir: Path | None = None, image_size: int | None = None) -> ImageData:
    """Find, decode (once) and split a data set.

    Args:
        dataset: ``cifar10``, ``eurosat``, ``digits``, the name of an image folder in the data directory, or a path.
        given_data_dir: The data directory; None: the default of :func:`data_dir`.
        image_size: Pixels per side to which images are resized, only if an image folder's images differ in size.

    Raises:
        TP1Error: The data set is missing, unreadable or too small.
    """
    source = find_source(dataset, data_dir(given_data_dir))
    try:
        images = load_images(source, cache_dir())
    except MixedSizesError:
        if image_size is None or not isinstance(source, ImageFolder):
            raise
        images = load_images(ImageFolder(source.name, source.root, image_size), cache_dir())
    if len(images.pixels) != (full := FULL_SIZES.get(images.name, len(images.pixels))):
        say(f"Note: {images.name} in {images.origin} has {len(images.pixels):,} images; the whole has {full:,}.")
    return _split(images)


def _split(images: Images) -> ImageData:
    listing = images.listing
    check_class_names(listing.classes, images.origin)
    check_images_fit(images.pixels.nbytes, images.origin)  # the parts are copies
    rows = split(listing.names, listing.labels, listing.is_test)
    missing = set(range(len(listing.classes))) - set(listing.labels[rows.test].tolist())
    if missing:
        raise TP1Error(f"{images.origin}: no test images of class {listing.classes[min(missing)]}.")
    train, val, test = (
        Part(part, images.pixels[part], listing.labels[part]) for part in (rows.train, rows.val, rows.test)
    )
    mean, std = channel_statistics(train.images)
    return ImageData(
        name=images.name,
        origin=images.origin,
        classes=listing.classes,
        pixels=images.pixels,
        train=train,
        val=val,
        test=test,
        digest=images.digest,
        split_digest=rows.digest,
        mean=mean,
        std=std,
    )


def check_class_names(classes: tuple[str, ...], origin: str) -> None:
    """Raise TP1Error for a class name that metrics or tables cannot take; called before training, not after it."""
    for name in classes:
        if name in RESERVED_NAMES or len(name) > LONGEST_CLASS or not re.fullmatch(r"[\w.\- ]+", name):
            raise TP1Error(
                f"class {name!r} in {origin} cannot be a metric's name: rename its folder, to letters, digits, spaces "
                f"and _ - . ({LONGEST_CLASS} at most, and none of {', '.join(RESERVED_NAMES)})."
            )


def channel_statistics(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of channels R, G and B, on a scale of 0 to 1.

    Computed exactly, from 256 counts per channel: sums of millions of floats would depend on their order.
    """
    channels = images.shape[-1]
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, len(images), 2048):  # in slices, because bincount copies its input to int64
        chunk = images[start : start + 2048]
        for channel in range(channels):
            counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    levels = np.arange(256) / 255
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ levels
    std = np.sqrt((share * (levels - mean[:, None]) ** 2).sum(axis=1))
    return tuple(mean.tolist()), tuple(std.tolist())
