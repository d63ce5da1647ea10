"""A source of images, before they are decoded: what each kind of source provides."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Listing:
    """The content of a source: N images in the order of their names.

    ``names`` are distinct and sorted, ``labels`` (N,) are indices into ``classes``, and ``is_test`` (N,) marks
    the source's own test images (None: it has none).
    """

    classes: tuple[str, ...]
    names: list[str]
    labels: NDArray[np.int64]
    is_test: NDArray[np.bool_] | None


class Source(Protocol):
    """Images that can be listed and decoded."""

    @property
    def name(self) -> str:
        """The data set's name, such as ``cifar10``."""

    @property
    def origin(self) -> str:
        """A path or URL that says where the images come from."""

    @property
    def resize(self) -> int | None:
        """Pixels per side to which every image is resized; None: images keep their sizes."""

    def files(self) -> Mapping[str, Path]:
        """The files that hold the images, by a name that does not depend on where they are stored."""

    def list(self) -> Listing:
        """The images' names and labels."""

    def decode(self, listing: Listing) -> Iterator[NDArray[np.uint8]]:
        """Each image of ``listing``, in order, as uint8 RGB (H, W, 3)."""


def sorted_listing(classes: tuple[str, ...], names: list[str], labels: list[int], *, parted: bool) -> Listing:
    """A listing in the order of the names.

    Args:
        parted: Whether the names that start with ``test/`` are the source's own test images.
    """
    order = np.argsort(np.array(names), kind="stable")
    names = [names[row] for row in order]
    is_test = np.array([name.startswith("test/") for name in names]) if parted else None
    return Listing(classes, names, np.array(labels, np.int64)[order], is_test)
