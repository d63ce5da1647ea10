"""Fixed, stratified splits that depend only on the images' names and classes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tp1.base.errors import TP1Error

SPLIT_SEED = 2024
TEST_FRACTION = 0.2  # of all images, if the data set has no test images of its own (the report's 20 %)
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


def split(names: Sequence[str], labels: NDArray[np.int64], is_test: NDArray[np.bool_] | None) -> Split:
    """Split images by name, class by class.

    Within a class, images are ranked by the SHA-256 of :data:`SPLIT_SEED` and their name. No random generator
    is used, because its stream could change with a library's version.

    Args:
        names: N distinct names in sorted order, such as ``train/cat/0001.jpg``.
        labels: (N,) class numbers.
        is_test: (N,) marks the data set's own test images; validation is then :data:`VALIDATION_FRACTION` of
            the others. None: test images are split off too.

    Raises:
        TP1Error: A class has too few images to give each part at least one.
    """
    rank = np.array([hashlib.sha256(_bytes(f"{SPLIT_SEED}/{name}")).hexdigest() for name in names])
    test = np.zeros(len(names), bool) if is_test is None else is_test.copy()
    val = np.zeros(len(names), bool)
    for label in np.unique(labels):
        rows = np.flatnonzero((labels == label) & ~test)
        rows = rows[np.argsort(rank[rows], kind="stable")]
        n_val = max(1, round(VALIDATION_FRACTION * len(rows)))
        n_test = 0 if is_test is not None else max(1, round(TEST_FRACTION * len(rows)))
        if len(rows) < n_val + n_test + 1:
            raise TP1Error(
                f"class number {label} has only {len(rows)} images to split: give each class at least "
                f"{n_val + n_test + 1}."
            )
        test[rows[:n_test]] = True
        val[rows[n_test : n_test + n_val]] = True

    parts = [np.flatnonzero(part) for part in (~test & ~val, val, test)]
    digest = hashlib.sha256()
    for title, rows in zip(("train", "val", "test"), parts, strict=True):
        digest.update(f"[{title}]\n".encode())
        digest.update(_bytes("".join(f"{names[row]}\n" for row in rows.tolist())))
    train_rows, val_rows, test_rows = parts
    return Split(train_rows, val_rows, test_rows, digest.hexdigest()[:16])


def _bytes(text: str) -> bytes:
    """Encode as UTF-8; a file name that is not valid UTF-8 gives the bytes that the file system holds."""
    return text.encode(errors="surrogateescape")
