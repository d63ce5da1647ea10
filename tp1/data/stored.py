"""Arrays that stay on disk and are read in pieces: data that do not fit in memory.

They are read with the system's ``pread``, not through a memory map: what a map has touched counts as memory of the
process, and a disk that fails would end the process without a word.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tp1.base.errors import TP1Error, why

CHUNK = 16 << 20  # bytes that are taken at a time where all of an array is gone through
SPAN = 1 << 20  # bytes that are read at once
GAP = 64 << 10  # bytes that are read through between two wanted rows: a seek would cost more


@dataclass(frozen=True)
class Stored:
    """An array (N, ...) whose rows are read when they are asked for.

    Attributes:
        rows: (N,) places in the file that it is a part of.
        row_shape: The shape of one row.
        dtype: Its type.
        read: Reads rows by their places in the file; the result is in memory, in the order asked for.
        beyond_memory: Whether it does not fit in memory, so that a disk must bear the order in which it is read.
    """

    rows: NDArray[np.int64]
    row_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[NDArray[np.int64]], NDArray[Any]]
    beyond_memory: bool

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, ...)."""
        return (len(self.rows), *self.row_shape)

    @property
    def nbytes(self) -> int:
        """Bytes that all rows take."""
        return len(self.rows) * row_bytes(self)

    def __getitem__(self, chosen: slice | NDArray[Any]) -> NDArray[Any]:
        """Read some rows: those of a slice, of numbers or of a mask."""
        return self.read(self.rows[chosen])

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for chunk in chunks(self):
            yield from chunk

    def taken(self, chosen: slice | NDArray[Any]) -> "Stored":
        """The array of some rows, by a slice, numbers or a mask, which stay on disk."""
        return replace(self, rows=self.rows[chosen])


ImageArray = NDArray[Any] | Stored


def row_bytes(images: ImageArray) -> int:
    """Bytes of one row."""
    return int(np.prod(images.shape[1:], dtype=np.int64)) * images.dtype.itemsize


def chunks(images: ImageArray) -> Iterator[NDArray[Any]]:
    """Yield all rows in order, some megabytes at a time."""
    step = max(1, CHUNK // row_bytes(images))
    for start in range(0, len(images), step):
        yield images[start : start + step]


class RowFile:
    """A file of equal rows. It stays open: its content can be read even if the cache is cleared meanwhile.

    Args:
        path: The file.
        shape: (N, ...) of the array in it.
        dtype: Its type.

    Raises:
        OSError: It cannot be opened.
        TP1Error: It is not as large as such an array.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._path = path
        self._file = path.open("rb", buffering=0)
        self._row = shape[1:]
        self._dtype = dtype
        self._size = int(np.prod(self._row, dtype=np.int64)) * dtype.itemsize
        if os.fstat(self._file.fileno()).st_size != shape[0] * self._size:
            self._file.close()
            raise TP1Error(f"{path} has changed its size while it is read: check that disk.")

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read rows by their numbers: in the order of the file, rows that lie close at once.

        Raises:
            TP1Error: The file cannot be read.
        """
        found = np.empty((len(rows), *self._row), self._dtype)
        places = np.argsort(rows, kind="stable")
        wanted = rows[places]
        is_far = np.diff(wanted) > 1 + GAP // self._size
        is_long = np.diff(wanted * self._size // SPAN) > 0
        ends = [*(np.flatnonzero(is_far | is_long) + 1).tolist(), len(wanted)]
        start = 0
        for end in ends if len(wanted) else []:
            first, last = int(wanted[start]), int(wanted[end - 1])
            found[places[start:end]] = self._span(first, last + 1)[wanted[start:end] - first]
            start = end
        return found

    def _span(self, first: int, end: int) -> NDArray[Any]:
        span = np.empty((end - first, *self._row), self._dtype)
        left, offset = span.reshape(-1).view(np.uint8).data, first * self._size
        try:
            while left:
                if not (count := os.preadv(self._file.fileno(), [left], offset)):
                    raise TP1Error(f"{self._path} has become shorter while it is read: check that disk.")
                left, offset = left[count:], offset + count
        except OSError as error:
            raise TP1Error(f"cannot read {self._path} ({error.strerror or why(error)}): check that disk.") from error
        return span
