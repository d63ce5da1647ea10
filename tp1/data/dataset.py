"""From a data set's name to the arrays that training and evaluation take."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from tp1.base.errors import TP1Error
from tp1.base.memory import fits
from tp1.base.names import user_path
from tp1.base.processes import processes_here
from tp1.base.progress import say
from tp1.data.broken import broken_images
from tp1.data.cache import PIXELS, Images, load_images
from tp1.data.cache_folder import cache_dir
from tp1.data.class_names import check_class_names
from tp1.data.copies import find_copies
from tp1.data.image_folder import ImageFolder
from tp1.data.reading import Reading
from tp1.data.sources import find_source
from tp1.data.splits import check_classes, split, without
from tp1.data.stored import ImageArray, RowFile, Stored, chunks

FULL_SIZES = {"cifar10": 60_000, "eurosat": 27_000}


@dataclass(frozen=True)
class Part:
    """Images of one part of the split.

    Attributes:
        index: (N,) each image's row in the data set's sorted names.
        images: uint8 RGB (N, H, W, 3), or float16 features (N, C, h, w) in their place; they stay on disk where they
            do not fit in memory.
        labels: (N,) class numbers.
    """

    index: NDArray[np.int64]
    images: ImageArray
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def chosen(self, rows: NDArray[np.bool_]) -> "Part":
        """The part with some of its images; (N,) marks these."""
        images = self.images.taken(rows) if isinstance(self.images, Stored) else self.images[rows]
        return Part(self.index[rows], images, self.labels[rows])


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
        names: Names of all images, sorted.
        is_resized: Whether images were resized when they were decoded.
        reading: How the data set was read.
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
    names: Sequence[str] = ()
    is_resized: bool = False
    reading: Reading = field(default_factory=Reading)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, 3) of every image."""
        height, width, channels = self.pixels.shape[1:]
        return height, width, channels


def data_dir(given: Path | None) -> Path:
    """The folder of data sets: ``given``, else ``$TP1_DATA_DIR``, else the user cache directory."""
    return user_path(given or os.environ.get("TP1_DATA_DIR") or user_cache_path("tp1-data"))


def load_data(
    dataset: str,
    given_data_dir: Path | None = None,
    image_size: int | None = None,
    *,
    test_from: str = "train",
    skip_broken: str = "no",
    drop_duplicates: str = "no",
) -> ImageData:
    """Find, decode (once) and split a data set.

    Args:
        dataset: ``cifar10``, ``eurosat``, ``digits``, ``torchvision:NAME``, the name of an image folder in the data
            directory, or a path.
        given_data_dir: The data directory; None: the default of :func:`data_dir`.
        image_size: Pixels per side that the network sees. Images are resized to it when they are decoded if they
            differ in size, or are large photographs (:func:`tp1.data.cache.load_images`).
        test_from: The part that test images come from if there are none: ``train``, from which they are cut, or
            ``val``, which becomes the test part, and validation is cut from the training images.
        skip_broken: ``yes`` leaves out images that cannot be read; else they are an error.
        drop_duplicates: ``train`` drops training images that are also among the validation or test images.

    Raises:
        TP1Error: The data set is missing, unreadable or too small.
    """
    source = find_source(dataset, data_dir(given_data_dir))
    reading = Reading()
    if isinstance(source, ImageFolder):
        layout = source.layout()
        reading = Reading(layout.what, layout.left_out, doubts=layout.doubts)
        if skip_broken == "yes":
            reading = replace(reading, broken=broken_images(source, cache_dir()))
            source = source.without([*reading.broken])
    images = load_images(source, cache_dir(), image_size)
    if len(images.pixels) != (full := FULL_SIZES.get(images.name, len(images.pixels))):
        say(f"Note: {images.name} in {images.origin} has {len(images.pixels):,} images; the whole has {full:,}.")
    return _split(images, reading, test_from, drop_duplicates)


def _split(images: Images, reading: Reading, test_from: str, drop_duplicates: str) -> ImageData:
    listing = images.listing
    check_class_names(listing.classes, images.origin)
    if test_from == "val":
        if listing.is_val is None or listing.is_test is not None:
            has = "a test part of its own" if listing.is_test is not None else "no val/ to take test images from"
            raise TP1Error(f"test_from=val: {images.origin} has {has}. Leave it out.")
        listing = replace(listing, is_test=listing.is_val, is_val=None)
    check_classes(listing, images.origin)
    rows = split(listing.names, listing.labels, listing.is_test, listing.is_val)
    copies = find_copies(images.pixels, rows, images.entry)
    if drop_duplicates == "train":
        dropped = np.union1d(copies.between(rows.train, rows.val), copies.between(rows.train, rows.test))
        reading = replace(reading, dropped=tuple(listing.names[row] for row in dropped.tolist()))
        rows = without(rows, listing.names, dropped)
        if gone := sorted(set(range(len(listing.classes))) - set(listing.labels[rows.train].tolist())):
            raise TP1Error(
                f"drop_duplicates=train leaves no training images of {[listing.classes[label] for label in gone]} in "
                f"{images.origin}."
            )
    array_of = _arrays(images)
    train, val, test = (Part(part, array_of(part), listing.labels[part]) for part in (rows.train, rows.val, rows.test))
    mean, std = channel_statistics(train.images)
    cut = [part for part, own in (("test", listing.is_test), ("validation", listing.is_val)) if own is None]
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
        names=listing.names,
        is_resized=images.resize is not None,
        reading=replace(reading, cut=tuple(cut), copies=copies),
    )


def _arrays(images: Images) -> Callable[[NDArray[np.int64]], ImageArray]:
    """Return a function that takes a part's rows and returns its images: a copy in memory where all fit, else stored.

    Several processes of one run on this machine leave them where they are: the system holds the file once for all.
    """
    pixels = images.pixels
    if fits(pixels.nbytes * processes_here()):
        return lambda rows: pixels[rows]
    file, beyond = RowFile(images.entry / PIXELS, pixels.shape, pixels.dtype), not fits(pixels.nbytes)
    return lambda rows: Stored(rows, pixels.shape[1:], pixels.dtype, file.read, beyond)


def channel_statistics(images: ImageArray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of channels R, G and B, on a scale of 0 to 1.

    Computed exactly, from 256 counts per channel: sums of millions of floats would depend on their order.
    """
    channels = images.shape[-1]
    counts = np.zeros((channels, 256), np.int64)
    for chunk in chunks(images):  # bincount copies its input to int64
        for channel in range(channels):
            counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    levels = np.arange(256) / 255
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ levels
    std = np.sqrt((share * (levels - mean[:, None]) ** 2).sum(axis=1))
    return tuple(mean.tolist()), tuple(std.tolist())
