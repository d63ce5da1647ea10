"""A file of equal rows that is written in order, and gone on with after a kill."""

import hashlib
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

NO_STATE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)  # raised for a damaged one
KEEP_SECONDS = 5.0  # between the moments that a killed process goes on from


class GrowingFile:
    """An open file of rows. What it has is counted and hashed in a second file beside it, every few seconds.

    The second file says only what is safely on disk, so that a power cut costs seconds too. A file that does not have
    what the second one says, or is of another key, is begun anew.

    Args:
        path: The file.
        key: What its rows are made of.

    Attributes:
        rows: Number of rows in it.
        row_shape: The shape of one row; None before the first.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.rows = 0
        self.row_shape: tuple[int, ...] | None = None
        self._key = key
        self._state = path.with_name(f"{path.name}.begun")
        self._digest = hashlib.sha256()
        self._file = path.open("r+b" if path.exists() else "w+b")
        if not self._take_up():
            self.rows, self.row_shape, self._digest = 0, None, hashlib.sha256()
            self._file.seek(0)
        self._file.truncate()
        self._kept = time.monotonic()

    def _take_up(self) -> bool:
        """Read again what is there, up to where it is safe."""
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
            if state["key"] != self._key:
                return False
            self.rows, self.row_shape = int(state["rows"]), tuple(state["row_shape"])
            left = int(state["bytes"])
            while left and (block := self._file.read(min(left, 1 << 20))):
                self._digest.update(block)
                left -= len(block)
            return left == 0 and bool(self._digest.hexdigest() == state["sha256"])
        except NO_STATE:
            return False

    def append(self, rows: NDArray[Any]) -> None:
        """Write rows (n, ...) at the end.

        Raises:
            OSError: They cannot be written.
        """
        block = np.ascontiguousarray(rows).tobytes()
        self._file.write(block)
        self._digest.update(block)
        self.rows, self.row_shape = self.rows + len(rows), rows.shape[1:]
        if time.monotonic() - self._kept >= KEEP_SECONDS:
            self._keep()

    def _keep(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        state = {
            "key": self._key,
            "rows": self.rows,
            "row_shape": self.row_shape,
            "bytes": self._file.tell(),
            "sha256": self._digest.hexdigest(),
        }
        partial = self._state.with_name(f"{self._state.name}.partial")
        partial.write_text(json.dumps(state), encoding="utf-8")
        partial.replace(self._state)
        self._kept = time.monotonic()

    def finish(self) -> str:
        """Say that all rows are there, and return the SHA-256 of the file."""
        self._file.flush()
        self._state.unlink(missing_ok=True)
        return self._digest.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt) and self.rows:  # a signal: the next process goes on from here
            self._keep()
        self._file.close()
