"""Images to predict: found in files, folders and arrays, and read in batches ahead of the model."""

import io
import os
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tp1.base.errors import TP1Error, why
from tp1.data.decoding import read_image, read_resized, reason
from tp1.data.file_kinds import SUFFIXES, count_others, read_tree

READ_AHEAD = 2  # batches per reading thread that may wait in memory
SMALL_FILE = 8192  # bytes: of files below this on average, reading is Pillow's Python code more than decoding
THUMBNAIL = 192  # pixels of the longer side


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image that was found but not read yet.

    Attributes:
        name: Its path as given or found; ``PATH[row]`` for a row of an array.
        where: Its file, or its pixels as uint8 (h, w, 3).
        folder: Name of the given folder's subfolder that holds it, at any depth; empty if there is none.
        folders: Names of all subfolders directly in the given folder.
    """

    name: str
    where: Path | NDArray[np.uint8] = field(repr=False)
    folder: str = ""
    folders: frozenset[str] = field(default=frozenset(), repr=False)

    def true_class(self, classes: Collection[str]) -> str | None:
        """Return ``folder`` as the true class if all of ``folders`` have names of ``classes``, else None."""
        return self.folder if self.folder and self.folders <= set(classes) else None

    def read(self) -> Image.Image:
        """Read the image as upright RGB in its own size, on white where it is transparent.

        Raises:
            Exception: See :func:`tp1.data.decoding.read_image`.
        """
        if not isinstance(self.where, Path):
            return Image.fromarray(self.where)
        return read_image(self.where)

    def read_at(self, size: tuple[int, int]) -> tuple[Image.Image, bool]:
        """Read the image as RGB of ``size`` (width, height), as for training; whether it was resized is returned.

        Raises:
            Exception: As :meth:`read`.
        """
        if isinstance(self.where, Path):
            return read_resized(self.where, size)
        return Image.fromarray(self.where).resize(size, Image.Resampling.BICUBIC), True


@dataclass(frozen=True)
class Batch:
    """Images that were read, all of one size.

    Attributes:
        found: The n images that could be read.
        pixels: uint8 RGB (n, H, W, 3).
        resized: How many of them had another size.
        unreadable: (name, reason) of each image that could not be read.
    """

    found: Sequence[FoundImage]
    pixels: NDArray[np.uint8]
    resized: int
    unreadable: Sequence[tuple[str, str]]


def find_images(paths: Sequence[Path]) -> list[FoundImage]:
    """Find the images in files, folders (recursively, sorted by path) and ``.npy`` arrays, each path once.

    Raises:
        TP1Error: A path does not exist, a folder holds no image, or an array does not hold images.
    """
    found: dict[str, FoundImage] = {}
    for path in paths:
        if not os.path.exists(path):  # noqa: PTH110 - pathlib raises where a name is too long
            raise TP1Error(f"no file or folder {path}: check images=.")
        new = _in_folder(path) if path.is_dir() else _in_array(path) if path.suffix.lower() == ".npy" else None
        for image in new or [FoundImage(str(path), path)]:
            key = f"{os.path.realpath(path)}{image.name.removeprefix(str(path))}"  # however its path is spelled
            if key not in found or (image.folder and not found[key].folder):  # the folder tells the true class
                found[key] = image
    return list(found.values())


def left_out(paths: Sequence[Path]) -> str:
    """Describe the files in folders that :func:`find_images` leaves out, since they are no images; empty for none."""
    return count_others(sum((read_tree(path).all_others() for path in paths if path.is_dir()), Counter()))


def read_batches(images: Sequence[FoundImage], shape: tuple[int, int, int], size: int) -> Iterator[Batch]:
    """Read all images, in order, resized to one size as for training; threads read ahead of the caller.

    Args:
        shape: (H, W, 3) of every image in a batch.
        size: Images per batch; fewer if some cannot be read.
    """
    threads = _readers(images)
    parts = (images[start : start + size] for start in range(0, len(images), size))
    waiting: deque[Future[Batch]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for part in parts:
            waiting.append(pool.submit(_read_batch, part, shape))
            if len(waiting) > READ_AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # also if the caller stops early
        pool.shutdown(cancel_futures=True)


def _readers(images: Sequence[FoundImage]) -> int:
    """Return how many threads should read: with small files or arrays, more than one would wait for Python's lock.

    They would hold up the model's thread as well (docs/LOG.md, 2026-12-01).
    """
    sizes = []
    for image in images[:: max(1, len(images) // 32)]:  # some, from all folders
        if isinstance(image.where, Path):
            with suppress(OSError):  # gone since it was found: reading says so
                sizes.append(image.where.stat().st_size)
    return (os.cpu_count() or 1) if sizes and mean(sizes) >= SMALL_FILE else 1


def thumbnail(
    image: FoundImage, change: Callable[[Image.Image], Image.Image] = lambda picture: picture
) -> tuple[bytes, bool]:
    """Encode the image with at most :data:`THUMBNAIL` pixels per side.

    Args:
        change: Changes the small picture before it is encoded.

    Returns:
        The file, and whether the image is so small that single pixels should be visible: then it is a PNG, else a JPEG.

    Raises:
        Exception: The image cannot be read.
    """
    picture = image.read()
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    small = max(picture.size) <= THUMBNAIL // 2
    buffer = io.BytesIO()
    change(picture).save(buffer, "png" if small else "jpeg", quality=85)
    return buffer.getvalue(), small


def _in_folder(root: Path) -> list[FoundImage]:
    tree = read_tree(root)
    if not tree.count:
        raise TP1Error(f"no images in the folder {root} ({', '.join(SUFFIXES)}): check images=.")
    folders = frozenset(tree.folders)
    found = []
    for path in sorted(tree.all_images(), key=lambda path: path.split("/")):
        where = root / path
        found.append(FoundImage(str(where), where, path.partition("/")[0] if "/" in path else "", folders))
    return found


def _in_array(path: Path) -> list[FoundImage]:
    try:
        pixels = np.asarray(np.lib.format.open_memmap(path, mode="r"))  # reads plain arrays only, no pickles
    except (OSError, ValueError, EOFError) as error:
        raise TP1Error(f"cannot read the array file {path}: {why(error)}.") from error
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or pixels.shape[-1] != 3 or 0 in pixels.shape:
        raise TP1Error(
            f"the array in {path} is {pixels.dtype} {pixels.shape}: give uint8 images (N, H, W, 3), or "
            "(H, W, 3) for one."
        )
    rows = pixels[np.newaxis] if pixels.ndim == 3 else pixels
    return [FoundImage(f"{path}[{row}]", image) for row, image in enumerate(rows)]


def _read_batch(images: Sequence[FoundImage], shape: tuple[int, int, int]) -> Batch:
    pixels = np.empty((len(images), *shape), np.uint8)
    read: list[FoundImage] = []
    unreadable: list[tuple[str, str]] = []
    resized = 0
    for image in images:
        try:
            if not isinstance(image.where, Path) and image.where.shape == shape:
                pixels[len(read)] = image.where
            else:
                rgb, was_resized = image.read_at((shape[1], shape[0]))
                resized += was_resized
                pixels[len(read)] = np.asarray(rgb)
        except Exception as error:  # see FoundImage.read
            unreadable.append((image.name, reason(error, image.where if isinstance(image.where, Path) else None)))
        else:
            read.append(image)
    return Batch(read, pixels[: len(read)], resized, unreadable)
