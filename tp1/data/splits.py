"""Fixed, stratified splits that depend only on the images' names and classes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tp1.base.errors import TP1Error
from tp1.data.source import Listing

SPLIT_SEED = 2024
TEST_FRACTION = 0.2  # of all images, if the data set has no test images of its own (the report's 20 %)
MOST_NAMED = 20  # classes in a message; the others are counted
VALIDATION_FRACTION = 0.1  # of all images except the data set's own test images


@dataclass(frozen=True)
class Split:
    """Row numbers of the training, validation and test images, in ascending order.

    Two splits have the same ``digest`` (16 hex digits) exactly if each part holds the same names.
    """

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]
    digest: str


@dataclass(frozen=True)
class Small:
    """A class that has too few images to split: it has ``found`` in the part that is cut, and needs ``needed``."""

    label: int
    found: int
    needed: int


def split(
    names: Sequence[str],
    labels: NDArray[np.int64],
    is_test: NDArray[np.bool_] | None,
    is_val: NDArray[np.bool_] | None = None,
) -> Split:
    """Split images by name, class by class.

    Within a class, images are ranked by the SHA-256 of :data:`SPLIT_SEED` and their name. No random generator
    is used, because its stream could change with a library's version.

    Args:
        names: N distinct names in sorted order, such as ``train/cat/0001.jpg``.
        labels: (N,) class numbers.
        is_test: (N,) marks the data set's own test images; None: :data:`TEST_FRACTION` of those outside ``is_val`` are
            split off.
        is_val: (N,) marks its own validation images; None: :data:`VALIDATION_FRACTION` of those outside ``is_test``.

    Raises:
        TP1Error: A class has too few images to give each part at least one.
    """
    for small in small_classes(labels, is_test, is_val):
        raise TP1Error(f"class number {small.label} has only {small.found} images to split: it needs {small.needed}.")
    rank = np.array([hashlib.sha256(_bytes(f"{SPLIT_SEED}/{name}")).hexdigest() for name in names])
    test = np.zeros(len(names), bool) if is_test is None else is_test.copy()
    val = np.zeros(len(names), bool) if is_val is None else is_val.copy()
    for label in np.unique(labels):
        rows = np.flatnonzero((labels == label) & ~test & ~val)
        rows = rows[np.argsort(rank[rows], kind="stable")]
        n_val, n_test = _counts(len(rows), is_test, is_val)
        test[rows[:n_test]] = True
        val[rows[n_test : n_test + n_val]] = True
    return Split(*_parts(names, test, val))


def small_classes(
    labels: NDArray[np.int64], is_test: NDArray[np.bool_] | None, is_val: NDArray[np.bool_] | None
) -> list[Small]:
    """Return the classes that have too few images for :func:`split`, which takes the same arguments."""
    small = []
    for label in np.unique(labels):
        rows = labels == label
        for own in (is_test, is_val):
            rows = rows if own is None else rows & ~own
        found = int(rows.sum())
        needed = 1 + sum(_counts(found, is_test, is_val))
        if found < needed:
            small.append(Small(int(label), found, needed))
    return small


def check_classes(listing: Listing, origin: str) -> None:
    """Raise TP1Error unless each class has enough images for every part; all classes that have not are named."""
    classes, labels = listing.classes, listing.labels
    faults = [
        f"{classes[one.label]!r} has {one.found} and needs {one.needed}"
        for one in small_classes(labels, listing.is_test, listing.is_val)
    ]
    for part, own in (("test", listing.is_test), ("validation", listing.is_val)):
        missing = set(range(len(classes))) - set(labels[own].tolist()) if own is not None else set()
        faults += [f"{classes[label]!r} has no {part} images" for label in sorted(missing)]
    if faults:
        more = f"; and {len(faults) - MOST_NAMED:,} more" if len(faults) > MOST_NAMED else ""
        classes_have = "a class has" if len(faults) == 1 else f"{len(faults)} classes have"
        raise TP1Error(
            f"{classes_have} too few images to split in {origin}: {'; '.join(faults[:MOST_NAMED])}{more}. Add images, "
            "or take these classes out."
        )


def without(split: Split, names: Sequence[str], dropped: NDArray[np.int64]) -> Split:
    """Return a split whose training part lacks some rows; its digest is another one, unless there are none."""
    test, val = np.zeros(len(names), bool), np.zeros(len(names), bool)
    test[split.test], val[split.val] = True, True
    return Split(*_parts(names, test, val, dropped))


def _counts(rows: int, is_test: NDArray[np.bool_] | None, is_val: NDArray[np.bool_] | None) -> tuple[int, int]:
    """How many of a class's rows become validation and test images."""
    n_val = 0 if is_val is not None else max(1, round(VALIDATION_FRACTION * rows))
    n_test = 0 if is_test is not None else max(1, round(TEST_FRACTION * rows))
    return n_val, n_test


def _parts(
    names: Sequence[str], test: NDArray[np.bool_], val: NDArray[np.bool_], dropped: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], str]:
    train = ~test & ~val
    if dropped is not None:
        train[dropped] = False
    parts = [np.flatnonzero(part) for part in (train, val, test)]
    digest = hashlib.sha256()
    for title, rows in zip(("train", "val", "test"), parts, strict=True):
        digest.update(f"[{title}]\n".encode())
        digest.update(_bytes("".join(f"{names[row]}\n" for row in rows.tolist())))
    train_rows, val_rows, test_rows = parts
    return train_rows, val_rows, test_rows, digest.hexdigest()[:16]


def _bytes(text: str) -> bytes:
    """Encode as UTF-8; a file name that is not valid UTF-8 gives the bytes that the file system holds."""
    return text.encode(errors="surrogateescape")
