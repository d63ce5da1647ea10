"""Images that lie in two parts of a data set: the same pixels, or the same picture encoded again."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tp1.base.folders import FULL, READ_ONLY
from tp1.data.cache_folder import NO_JSON, cache_unwritable, check_of
from tp1.data.image_digests import image_digests
from tp1.data.splits import Split
from tp1.data.stored import chunks

FORMAT = 2  # of the stored answer: increase it when the rule changes
GRID = 8  # cells per side of the small grey picture that candidates are found by
ALIKE = 0.995  # correlation of two small pictures from which they are compared pixel by pixel
NEAR = 6.0  # mean difference of two pictures in grey levels, below which they are the same picture
FLAT = 4.0  # standard deviation in grey levels, below which a picture has nothing to recognise it by
MOST_PAIRS = 4e9  # comparisons, some 20 s; with more, only the same pixels are found
MOST_CANDIDATES = 100_000  # pairs compared pixel by pixel, some 5 s; with more, only the same pixels are found
CHUNK = 1024


@dataclass(frozen=True)
class Copies:
    """Pairs of images in two different parts that show the same picture: each such image is in one pair at least.

    Attributes:
        pairs: (n, 2) rows of the data set: the one in the earlier part (training, validation, test) comes first.
        exact: (n,) whether their pixels are the same; else they are the same picture encoded again.
        whole: Whether encoded-again pictures were looked for. That takes too long in a very large data set, and where
            most pictures are alike it cannot be told.
    """

    pairs: NDArray[np.int64]
    exact: NDArray[np.bool_]
    whole: bool

    def __len__(self) -> int:
        return len(self.pairs)

    def between(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of part ``first`` that have a copy in part ``second``, each once."""
        chosen = np.isin(self.pairs[:, 0], first) & np.isin(self.pairs[:, 1], second)
        return np.unique(self.pairs[chosen, 0])


def find_copies(pixels: NDArray[np.uint8], split: Split, entry: Path) -> Copies:
    """Find images that lie in two parts; the answer is kept in the cache entry of the pixels.

    Args:
        pixels: uint8 (N, H, W, 3).
        entry: The entry's folder; where it is full or only for reading, the answer is not kept.

    Raises:
        TP1Error: The cache cannot be written for another reason.
    """
    known = entry / f"copies-{FORMAT}-{split.digest}.json"
    if (found := _read(known, len(pixels))) is not None:
        return found
    found = _find(pixels, split)
    content = json.dumps([found.pairs.tolist(), found.exact.tolist(), found.whole])
    try:
        known.write_text(json.dumps({"content": content, "check": check_of(content)}), encoding="utf-8")
    except FileNotFoundError:  # the entry was removed meanwhile
        pass
    except OSError as error:
        if error.errno not in (*READ_ONLY, *FULL):
            raise cache_unwritable(entry.parent, error) from error
    return found


def _read(known: Path, count: int) -> Copies | None:
    try:
        stored = json.loads(known.read_text(encoding="utf-8"))
        if stored["check"] != check_of(stored["content"]):
            return None
        pairs, exact, whole = json.loads(stored["content"])
    except (OSError, *NO_JSON):
        return None
    rows = np.array(pairs, np.int64).reshape(-1, 2)
    return Copies(rows, np.array(exact, bool), bool(whole)) if (rows < count).all() else None


def _find(pixels: NDArray[np.uint8], split: Split) -> Copies:
    parts = (split.train, split.val, split.test)
    steps = [(parts[0], parts[1]), (parts[0], parts[2]), (parts[1], parts[2])]
    digests = image_digests(pixels)
    pairs = {pair: True for first, second in steps for pair in _same(digests, first, second)}
    whole = sum(len(first) * len(second) for first, second in steps) <= MOST_PAIRS
    if whole:
        small, flat = _small_pictures(pixels)
        found: list[tuple[int, int]] = []
        for first, second in steps:
            for alike in _alike(small, digests, first[~flat[first]], second[~flat[second]]):
                found += alike
                if len(found) > MOST_CANDIDATES:  # as of pictures that one camera took of one thing
                    whole = False
                    break
        for one, other in found if whole else []:
            if _near(pixels[one], pixels[other]):
                pairs[one, other] = False
    rows = sorted(pairs)
    return Copies(np.array(rows, np.int64).reshape(-1, 2), np.array([pairs[pair] for pair in rows], bool), whole)


def _same(
    digests: NDArray[np.uint64], first: NDArray[np.int64], second: NDArray[np.int64]
) -> Iterator[tuple[int, int]]:
    """Pairs of rows with the same pixels: each row that has copies in the other part, with one of them.

    All pairs would be a million where a thousand images are black.
    """
    earliest: tuple[dict[int, int], dict[int, int]] = ({}, {})
    for found, rows in zip(earliest, (first, second), strict=True):
        for row in rows.tolist():
            found.setdefault(int(digests[row]), row)
    for row in first.tolist():
        if (other := earliest[1].get(int(digests[row]))) is not None:
            yield row, other
    for row in second.tolist():
        if (one := earliest[0].get(int(digests[row]))) is not None:
            yield one, row


def _alike(
    small: NDArray[np.float32], digests: NDArray[np.uint64], first: NDArray[np.int64], second: NDArray[np.int64]
) -> Iterator[list[tuple[int, int]]]:
    """Pairs of rows whose small pictures correlate, in portions; of a portion with too many, only some.

    Without those of the same pixels, of which :func:`_same` has as many as are needed.
    """
    for start in range(0, len(second), CHUNK):
        rows = second[start : start + CHUNK]
        for begin in range(0, len(first), 16 * CHUNK):
            others = first[begin : begin + 16 * CHUNK]
            alike = small[rows] @ small[others].T >= ALIKE
            alike &= digests[rows][:, None] != digests[others]
            found = np.flatnonzero(alike)[: MOST_CANDIDATES + 1]
            places = zip(*np.divmod(found, len(others)), strict=True)
            yield [(int(others[column]), int(rows[row])) for row, column in places]


def _near(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    return bool(np.abs(one.astype(np.int16) - other).mean() < NEAR)


def _small_pictures(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return (N, GRID * GRID) small grey pictures with mean 0 and length 1, and (N,) whether each is flat."""
    height, width = pixels.shape[1:3]
    rows, columns = (np.minimum(np.arange(GRID) * side // GRID, side - 1) for side in (height, width))
    small = np.empty((len(pixels), GRID * GRID), np.float32)
    start = 0
    for chunk in chunks(pixels):
        grey = chunk.sum(axis=3, dtype=np.float32) / 3
        cells = np.add.reduceat(np.add.reduceat(grey, rows, axis=1), columns, axis=2)
        areas = np.outer(np.diff([*rows, height]).clip(1), np.diff([*columns, width]).clip(1))
        small[start : start + len(grey)] = (cells / areas).reshape(len(grey), -1)
        start += len(grey)
    small -= small.mean(axis=1, keepdims=True)
    length = np.linalg.norm(small, axis=1, keepdims=True)
    return small / np.maximum(length, 1e-6), (length[:, 0] / GRID) < FLAT
