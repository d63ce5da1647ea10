"""Frozen features of a whole data set, computed once and kept as float16 beside the decoded images."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray

from tp1.base.errors import TP1Error
from tp1.base.folders import whole_folder
from tp1.base.memory import fits
from tp1.base.processes import processes_here
from tp1.base.progress import progress, say
from tp1.data.cache import FORMAT, RESIZED_FORMAT
from tp1.data.cache_folder import NO_JSON, cache_unreadable, cache_unwritable, check_of, check_space, entry_title
from tp1.data.dataset import ImageData, Part
from tp1.data.growing import GrowingFile
from tp1.data.stored import RowFile, Stored
from tp1.models.transfer import Trunk, join
from tp1.training.inference import ACCELERATOR_BATCH, evaluation_batch

FEATURES = "features.bin"  # in an entry
CHUNK = 512  # images read at a time; their MobileNetV2 features at 224 pixels take 64 MB


def feature_parts(
    trunks: Sequence[Trunk], digests: Sequence[str], side: int, data: ImageData, folder: Path
) -> tuple[Part, Part, Part]:
    """Return training, validation and test parts with joined features in place of images.

    Features come from the cache in ``folder``, with one entry per trunk, so that a fusion and the experiments
    on its trunks share them. Missing or damaged entries are computed.

    Args:
        trunks: With loaded weights, on the device that computes the features.
        digests: One digest per trunk, of its weights.
        side: Pixels per side to which the features are pooled.

    Returns:
        Parts whose ``images`` are float16 (N, C, side, side); they stay on disk where they do not fit in memory.

    Raises:
        TP1Error: The cache cannot be written, or features exceed the range of float16.
    """
    entries = [FeatureEntry(trunk, digest, data, folder) for trunk, digest in zip(trunks, digests, strict=True)]
    for entry in entries:
        entry.ensure()
    parts = (data.train, data.val, data.test)
    row_shape = (sum(entry.shape[0] for entry in entries), side, side)
    needed = 2 * len(data.pixels) * int(np.prod(row_shape))
    if fits(needed * processes_here()):
        train, val, test = _in_memory(entries, parts, len(data.pixels), row_shape)
        return train, val, test
    beyond, read = not fits(needed), _reader(entries, row_shape)
    train, val, test = (
        replace(part, images=Stored(part.index, row_shape, np.dtype(np.float16), read, beyond)) for part in parts
    )
    return train, val, test


def _in_memory(
    entries: Sequence["FeatureEntry"], parts: Sequence[Part], count: int, row_shape: tuple[int, ...]
) -> list[Part]:
    """Read the features of all ``count`` images, straight into the parts: to split a whole would take twice as much."""
    part_of, row_in_part = np.full(count, -1, np.int8), np.zeros(count, np.int64)  # -1: in no part
    for number, part in enumerate(parts):
        part_of[part.index], row_in_part[part.index] = number, np.arange(len(part))
    joined = [np.empty((len(part), *row_shape), np.float16) for part in parts]
    for start in progress(range(0, count, CHUNK), "Reading features", unit="chunk"):
        rows = slice(start, min(start + CHUNK, count))
        chunk = join([torch.from_numpy(entry.read(rows)) for entry in entries], row_shape[-1]).numpy()
        for number, target in enumerate(joined):
            chosen = part_of[rows] == number
            target[row_in_part[rows][chosen]] = chunk[chosen]
    return [replace(part, images=features) for part, features in zip(parts, joined, strict=True)]


def _reader(
    entries: Sequence["FeatureEntry"], row_shape: tuple[int, ...]
) -> Callable[[NDArray[np.int64]], NDArray[np.float16]]:
    """Return a function that reads joined features by the images' rows."""
    files = [entry.open() for entry in entries]

    def read(rows: NDArray[np.int64]) -> NDArray[np.float16]:
        joined = np.empty((len(rows), *row_shape), np.float16)
        order = np.argsort(rows, kind="stable")
        for start in range(0, len(rows), CHUNK):  # before they are pooled, they may be fifty times as large
            places = order[start : start + CHUNK]
            maps = [torch.from_numpy(file.read(rows[places])) for file in files]
            joined[places] = join(maps, row_shape[-1]).numpy()
        return joined

    return read


class FeatureEntry:
    """The cache entry with one trunk's features of one data set.

    Its key covers the file format, the kind of device, the architecture, the weights, the input size, the
    normalisation, the data set's content and the images' size.

    Attributes:
        shape: (C, h, w) of one image's features.
        path: The entry's folder: ``features.bin`` (float16, images in the order of their names) and ``meta.json``.
    """

    def __init__(self, trunk: Trunk, weights_digest: str, data: ImageData, folder: Path) -> None:
        self.trunk = trunk
        self.data = data
        self.shape = trunk.feature_shape()
        preparation = trunk.preparation
        key = {
            "format": FORMAT,
            "device": preparation.scale.device.type,  # an accelerator's convolutions round differently from the CPU's
            "architecture": trunk.architecture,
            "weights": weights_digest,
            "image_size": preparation.image_size,
            "scale": preparation.scale.flatten().tolist(),
            "shift": preparation.shift.flatten().tolist(),
            "data": data.digest,
            "images": data.image_shape,
        }
        if data.is_resized:
            key["resizing"] = RESIZED_FORMAT
        self.key = key
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        title = f"features-{entry_title(data.name)}-{trunk.architecture}"
        self.path = folder / f"{title}-{preparation.image_size}px-{digest}"

    def ensure(self) -> None:
        """Compute the features unless the entry is complete. One process computes, others wait.

        A complete entry is read from a folder that cannot be written, too.

        Raises:
            TP1Error: The cache cannot be written, or features exceed the range of float16.
        """
        if self._is_whole():
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.parent / f".{self.path.name}.lock"):
                if not self._is_whole():  # another process may have been at it
                    self._build()
        except OSError as error:
            raise cache_unwritable(self.path.parent, error) from error

    def read(self, rows: slice) -> NDArray[np.float16]:
        """Return float16 features (N, C, h, w) of the images in ``rows``.

        Each call maps the file anew: pages of a map that stays open would count as this process's memory. An entry
        removed since :meth:`ensure`, as by ``tp1 cache --clear``, is computed again.
        """
        try:
            features = self._mapped()
        except (FileNotFoundError, ValueError):
            self.ensure()
            features = self._mapped()
        return np.array(features[rows])

    def _mapped(self) -> NDArray[np.float16]:
        with (self.path / FEATURES).open("rb") as file:
            if (size := os.fstat(file.fileno()).st_size) != self._size():  # a map would show the first of more bytes
                raise ValueError(f"{file.name} has {size} bytes in place of {self._size()}")
            return np.memmap(file, np.float16, "r", shape=(len(self.data.pixels), *self.shape))

    def open(self) -> RowFile:
        """Return the file of the features, for reading some rows at a time."""
        return RowFile(self.path / FEATURES, (len(self.data.pixels), *self.shape), np.dtype(np.float16))

    def _is_whole(self) -> bool:
        try:
            meta = json.loads((self.path / "meta.json").read_text(encoding="utf-8"))
            with (self.path / FEATURES).open("rb") as file:
                if os.fstat(file.fileno()).st_size != self._size() or meta["key"] != json.loads(json.dumps(self.key)):
                    return False
                return bool(hashlib.file_digest(file, "sha256").hexdigest() == meta["sha256"])
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, *NO_JSON):
            return False
        except OSError as error:
            raise cache_unreadable(self.path, error) from error

    def _size(self) -> int:
        """Bytes of ``features.bin``."""
        return 2 * len(self.data.pixels) * int(np.prod(self.shape))

    def _build(self) -> None:
        """Compute into a folder beside the entry, and rename it when complete. The caller holds the lock."""
        with whole_folder(self.path, going_on=True) as partial:
            key = check_of(json.dumps(self.key, sort_keys=True))
            with GrowingFile(partial / FEATURES, key, np.dtype(np.float16)) as file:
                missing = len(self.data.pixels) - file.rows
                check_space(2 * missing * int(np.prod(self.shape)), self.path.parent, "features")
                for features in self._compute(file.rows):
                    file.append(features)
                digest = file.finish()
            (partial / "meta.json").write_text(
                json.dumps({"sha256": digest, "key": self.key}, indent=1), encoding="utf-8"
            )

    def _compute(self, first: int) -> Iterator[NDArray[np.float16]]:
        """Compute the features of the images from ``first`` on, which is where a batch begins."""
        device = self.trunk.preparation.scale.device
        size = self.trunk.preparation.image_size
        batch_size = evaluation_batch(size) if device.type == "cpu" else ACCELERATOR_BATCH
        folded = self.trunk.folded()
        title = f"{self.trunk.architecture} features at {size} px"
        pixels = self.data.pixels
        say(f"Computing {title} of {len(pixels):,} images, once: later runs take them from the cache")
        if first:
            say(f"They go on after {first:,} images, which an earlier process has computed.")
        for start in progress(range(first, len(pixels), batch_size), title, unit=f"x{batch_size} img"):
            batch = torch.from_numpy(np.array(pixels[start : start + batch_size])).to(device)
            with torch.inference_mode():
                maps = folded(batch)
            features: NDArray[np.float16] = maps.cpu().contiguous().numpy()
            if not np.isfinite(features).all():
                raise TP1Error(f"{title} of {self.data.name} are beyond float16: these weights cannot be cached.")
            yield features
