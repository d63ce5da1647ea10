"""A file of equal rows that is written in order, and gone on with after a kill."""

import hashlib
import json
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

NO_STATE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)  # raised for a damaged one
KEEP_SECONDS = 5.0  # between the moments that a killed process goes on from


@dataclass(frozen=True)
class _Counted:
    """The first rows of a file, their shape, and their SHA-256.

    They are one value: a signal may arrive between any two steps, and what is stored then must belong together.
    """

    rows: int = 0
    row_shape: tuple[int, ...] | None = None
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def size(self, dtype: np.dtype[Any]) -> int:
        """Bytes that these rows take."""
        return self.rows * math.prod(self.row_shape or ()) * dtype.itemsize


class GrowingFile:
    """An open file of rows. What it has is counted and hashed in a second file beside it, every few seconds.

    The second file says only what is safely on disk, so that a power cut costs seconds too. What lies behind the rows
    that it counts is cut off. A file that does not have what the second one says, or is of another key, is begun anew.

    Args:
        path: The file.
        key: What its rows are made of.
        dtype: Their type.
    """

    def __init__(self, path: Path, key: str, dtype: np.dtype[Any]) -> None:
        self._key = key
        self._dtype = dtype
        self._state = path.with_name(f"{path.name}.begun")
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._counted = self._take_up() or _Counted()
        self._file.seek(self._counted.size(dtype))
        self._file.truncate()
        self._kept = time.monotonic()

    @property
    def rows(self) -> int:
        """Number of rows in it."""
        return self._counted.rows

    @property
    def row_shape(self) -> tuple[int, ...] | None:
        """The shape of one row; None before the first."""
        return self._counted.row_shape

    def _take_up(self) -> _Counted | None:
        """Read again what is there, up to where it is safe; None if it is not as the second file says."""
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
            if state["key"] != self._key:
                return None
            found = _Counted(int(state["rows"]), tuple(state["row_shape"]))
            left = found.size(self._dtype)
            while left > 0 and (block := self._file.read(min(left, 1 << 20))):
                found.digest.update(block)
                left -= len(block)
            return found if left == 0 and found.digest.hexdigest() == state["sha256"] else None
        except NO_STATE:
            return None

    def append(self, rows: NDArray[Any]) -> None:
        """Write rows (n, ...) of the file's type at the end.

        Raises:
            OSError: They cannot be written.
        """
        block = np.ascontiguousarray(rows).tobytes()
        self._file.write(block)
        digest = self._counted.digest.copy()
        digest.update(block)
        self._counted = _Counted(self.rows + len(rows), rows.shape[1:], digest)
        if time.monotonic() - self._kept >= KEEP_SECONDS:
            self._keep()

    def _keep(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        state = {
            "key": self._key,
            "rows": self.rows,
            "row_shape": self.row_shape,
            "sha256": self._counted.digest.hexdigest(),
        }
        partial = self._state.with_name(f"{self._state.name}.partial")
        partial.write_text(json.dumps(state), encoding="utf-8")
        partial.replace(self._state)
        self._kept = time.monotonic()

    def finish(self) -> str:
        """Say that all rows are there, and return the SHA-256 of the file."""
        self._file.flush()
        self._state.unlink(missing_ok=True)
        return self._counted.digest.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt) and self.rows:  # a signal: the next process goes on from here
            self._keep()
        self._file.close()
