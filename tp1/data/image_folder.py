"""Images in class folders."""

import errno
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tp1.base.errors import TP1Error
from tp1.base.names import is_folder, printable, some
from tp1.base.progress import progress
from tp1.data.decoding import read_image, read_resized, reason, strict_and_quiet
from tp1.data.layout import Layout, read_layout
from tp1.data.source import Listing, sorted_listing

READ_AHEAD = 2  # decoded images per reading thread that may wait in memory
MOST_THREADS = 8  # that read: with more, photographs that wait would take gigabytes
# Errors of a disk, a network or this process, which say nothing about the file.
PASSING = frozenset(
    (errno.EIO, errno.ESTALE, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETIMEDOUT, errno.ENOENT, errno.EACCES)
)
MOST_NAMED = 10  # broken images in a message; the others are counted


class BrokenImagesError(TP1Error):
    """Some images cannot be read.

    Attributes:
        broken: The reason by the image's name.
    """

    def __init__(self, root: Path, broken: Mapping[str, str]) -> None:
        self.broken = dict(broken)
        names: dict[str, list[str]] = {}
        for name, why in broken.items():
            names.setdefault(why, []).append(printable(name))
        if len(broken) == 1:
            ((name, why),) = broken.items()
            what, these, all_named = f"cannot read image {printable(str(root / name))}: {why}", "the file", ""
        else:
            each = max(1, MOST_NAMED // len(names))
            parts = [f"{some(found, each)} ({why})" for why, found in [*names.items()][:MOST_NAMED]]
            more = f"; and {len(names) - MOST_NAMED:,} other reasons" if len(names) > MOST_NAMED else ""
            what = f"cannot read {len(broken):,} images in {printable(str(root))}: {'; '.join(parts)}{more}"
            these, all_named = "the files", "; `eda` lists them all"
        super().__init__(f"{what}. Mend or remove {these}, or leave out what is broken: skip_broken=yes{all_named}.")


class ImageFolder:
    """A folder of images in class folders, or in parts with class folders (:mod:`tp1.data.layout`).

    Args:
        name: The data set's name.
        root: The folder.
        resize: Pixels per side to which every image is resized; None: images keep their sizes.
        skipped: Names of images that are left out, such as broken ones.

    Raises:
        TP1Error: On listing: the folder is missing or has no known layout. On decoding: images cannot be read; all of
            them are named.
    """

    def __init__(self, name: str, root: Path, resize: int | None = None, skipped: frozenset[str] = frozenset()) -> None:
        self.name = name
        self.root = root
        self.resize = resize
        self.skipped = skipped

    @property
    def origin(self) -> str:
        return str(self.root)

    def resized(self, side: int) -> "ImageFolder":
        """The same images, resized to ``side`` pixels per side."""
        return ImageFolder(self.name, self.root, side, self.skipped)

    def without(self, skipped: Sequence[str]) -> "ImageFolder":
        """The same folder without some of its images, by their names."""
        return ImageFolder(self.name, self.root, self.resize, self.skipped | frozenset(skipped))

    def layout(self) -> Layout:
        """Read the folder's layout.

        Raises:
            TP1Error: The folder is missing or has no known layout.
        """
        if not is_folder(self.root):
            raise TP1Error(f"no image folder at {self.root}: check dataset= and data_dir=.")
        return read_layout(self.root)

    def files(self) -> Mapping[str, Path]:
        files = self.layout().files
        return {name: files[name] for name in self.list().names}

    def list(self) -> Listing:
        layout = self.layout()
        kept = [
            (name, label) for name, label in zip(layout.files, layout.labels, strict=True) if name not in self.skipped
        ]
        if gone := sorted(set(range(len(layout.classes))) - {label for _, label in kept}):
            raise TP1Error(
                f"no image of {', '.join(repr(layout.classes[label]) for label in gone)} in {self.root} can be read: "
                "mend or remove these classes."
            )
        return sorted_listing(layout.classes, [name for name, _ in kept], [label for _, label in kept], layout.parts)

    def decode(self, listing: Listing) -> Iterator[NDArray[np.uint8]]:
        broken: dict[str, str] = {}
        for name, image in self._read_all(listing.names):
            if not isinstance(image, np.ndarray):
                broken[name] = image
            elif not broken:  # else the others are read only to name all that are broken
                yield image
        if broken:
            raise BrokenImagesError(self.root, broken)

    def broken(self) -> dict[str, str]:
        """Try to read every image; return the reason, by the image's name, for those that cannot be read."""
        names = self.list().names
        found = progress(self._read_all(names), "Looking for broken images", len(names))
        return {name: image for name, image in found if not isinstance(image, np.ndarray)}

    def _read_all(self, names: Sequence[str]) -> Iterator[tuple[str, NDArray[np.uint8] | str]]:
        """Read images in order, ahead of the caller; a reason stands in the place of one that cannot be read."""
        # Pillow decodes without the interpreter lock. The images that wait in memory are few: they may be large.
        files = self.layout().files
        threads = min(os.cpu_count() or 1, MOST_THREADS)
        waiting: deque[tuple[str, Future[NDArray[np.uint8] | str]]] = deque()
        pool = ThreadPoolExecutor(threads)
        try:
            with strict_and_quiet():
                for name in names:
                    waiting.append((name, pool.submit(self._read, files[name])))
                    if len(waiting) > READ_AHEAD * threads:
                        first, image = waiting.popleft()
                        yield first, image.result()
                while waiting:
                    first, image = waiting.popleft()
                    yield first, image.result()
        finally:  # also if the caller stops early
            pool.shutdown(cancel_futures=True)

    def _read(self, path: Path) -> NDArray[np.uint8] | str:
        try:
            if self.resize is None:
                return np.asarray(read_image(path))
            return np.asarray(read_resized(path, (self.resize, self.resize))[0])
        except MemoryError as error:
            raise TP1Error(f"not enough memory to read {printable(str(path))}: free some, and start again.") from error
        except Exception as error:  # see read_image
            if isinstance(error, OSError) and error.errno in PASSING:
                raise TP1Error(f"cannot read {printable(str(path))}: {error.strerror}.") from error
            return reason(error, path)
