"""A source of images, before they are decoded: what each kind of source provides."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tp1.base.errors import TP1Error


@dataclass(frozen=True)
class Listing:
    """The content of a source: N images in the order of their names.

    ``names`` are distinct and sorted, ``labels`` (N,) are indices into ``classes``, and ``is_test`` and ``is_val`` (N,)
    mark the source's own test and validation images (None: it has none).
    """

    classes: tuple[str, ...]
    names: list[str]
    labels: NDArray[np.int64]
    is_test: NDArray[np.bool_] | None
    is_val: NDArray[np.bool_] | None = None

    def after(self, count: int) -> "Listing":
        """The listing without its first ``count`` images."""
        is_test, is_val = (None if marks is None else marks[count:] for marks in (self.is_test, self.is_val))
        return Listing(self.classes, self.names[count:], self.labels[count:], is_test, is_val)


class Source(Protocol):
    """Images that can be listed and decoded."""

    @property
    def name(self) -> str:
        """The data set's name, such as ``cifar10``: what ``dataset=`` takes."""

    @property
    def origin(self) -> str:
        """A path or URL that says where the images come from."""

    @property
    def resize(self) -> int | None:
        """Pixels per side to which every image is resized; None: images keep their sizes."""

    def files(self) -> Mapping[str, Path]:
        """The files that hold the images, by a name that does not depend on where they are stored; at least one.

        Their content is the key of the cache and the data set's digest: where it changes, images are decoded again.
        Generated images are made of the module that generates them: ``{"squares.py": Path(__file__)}``.
        """

    def list(self) -> Listing:
        """The images' names and labels; each class has images in every part of the split."""

    def decode(self, listing: Listing) -> Iterator[NDArray[np.uint8]]:
        """Each image of ``listing``, in order, as uint8 RGB (H, W, 3), all of one size.

        The listing may lack the first images of :meth:`list`: those that are decoded already.
        """


@runtime_checkable
class Resizable(Source, Protocol):
    """A source that can decode its images to another size."""

    def resized(self, side: int) -> Source:
        """The same images, each resized to ``side`` pixels per side: the ``resize`` of the source that is returned."""


def check_listing(listing: Listing, origin: str) -> None:
    """Raise TP1Error unless a listing is as :class:`Listing` promises: splits, metrics and the cache depend on it."""
    names, labels = listing.names, listing.labels
    if not names or any(one >= other for one, other in pairwise(names)):
        raise TP1Error(f"{origin} lists {len(names)} images: there must be some, their names distinct and sorted.")
    is_numbers = isinstance(labels, np.ndarray) and labels.shape == (len(names),) and labels.dtype == np.int64
    if not is_numbers or set(np.unique(labels).tolist()) != set(range(len(listing.classes))):
        raise TP1Error(
            f"{origin} has labels that do not fit its {len(listing.classes)} classes: they must be an int64 array of "
            f"one number for each image, from 0 to {len(listing.classes) - 1}, each class with images."
        )


def sorted_listing(classes: tuple[str, ...], names: list[str], labels: list[int], parts: Collection[str]) -> Listing:
    """A listing in the order of the names.

    Args:
        parts: The source's own parts, of ``train``, ``val`` and ``test``: names start with ``test/`` and so on.
    """
    order = np.argsort(np.array(names), kind="stable")
    names = [names[row] for row in order]

    def marked(part: str) -> NDArray[np.bool_] | None:
        return np.array([name.startswith(f"{part}/") for name in names]) if part in parts else None

    return Listing(classes, names, np.array(labels, np.int64)[order], marked("test"), marked("val"))
