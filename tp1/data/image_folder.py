"""Images in class folders."""

import os
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tp1.base.errors import TP1Error, why
from tp1.base.names import is_folder
from tp1.data.decoding import bombs_refused, read_image
from tp1.data.source import Listing, sorted_listing

SUFFIXES = (".jpg", ".jpeg", ".png")
READ_AHEAD = 4  # decoded images per reading thread that may wait in memory


class ImageFolder:
    """A folder of jpg and png images in ``train/<class>/`` and ``test/<class>/``, or in ``<class>/`` alone.

    Args:
        name: The data set's name.
        root: The folder.
        resize: Pixels per side to which every image is resized; None: images keep their sizes.

    Raises:
        TP1Error: On listing: the folder is missing or has fewer than two class folders, a class folder is empty,
            or the classes of ``train/`` and ``test/`` differ. On decoding: an image cannot be read.
    """

    def __init__(self, name: str, root: Path, resize: int | None = None) -> None:
        self.name = name
        self.root = root
        self.resize = resize

    @property
    def origin(self) -> str:
        return str(self.root)

    def files(self) -> Mapping[str, Path]:
        return {name: self.root / name for name in self.list().names}

    def list(self) -> Listing:
        if not is_folder(self.root):
            raise TP1Error(f"no image folder at {self.root}: check dataset= and data_dir=.")
        try:
            return self._list()
        except OSError as error:
            raise TP1Error(f"cannot read the image folder {error.filename}: {error.strerror}.") from error

    def _list(self) -> Listing:
        parted = (self.root / "train").is_dir() and (self.root / "test").is_dir()
        parts = ("test", "train") if parted else ("",)
        classes = {part: _folders(self.root / part) for part in parts}
        if parted and classes["train"] != classes["test"]:
            odd = sorted(set(classes["train"]) ^ set(classes["test"]))
            raise TP1Error(f"train/ and test/ in {self.root} have different classes: only one of them has {odd}.")
        names: list[str] = []
        labels: list[int] = []
        for part in parts:
            for label, class_name in enumerate(classes[part]):
                folder = self.root / part / class_name
                found = sorted(entry for entry in os.listdir(folder) if entry.lower().endswith(SUFFIXES))
                if not found:
                    raise TP1Error(f"class folder {folder} has no images ({', '.join(SUFFIXES)}): fill or remove it.")
                names += [f"{part}/{class_name}/{entry}".lstrip("/") for entry in found]
                labels += [label] * len(found)
        return sorted_listing(classes[parts[0]], names, labels, parted=parted)

    def decode(self, listing: Listing) -> Iterator[NDArray[np.uint8]]:
        # Pillow decodes without the interpreter lock. The images that wait in memory are few: they may be large.
        threads = os.cpu_count() or 1
        waiting: deque[Future[NDArray[np.uint8]]] = deque()
        pool = ThreadPoolExecutor(threads)
        try:
            with bombs_refused():
                for name in listing.names:
                    waiting.append(pool.submit(self._read, name))
                    if len(waiting) > READ_AHEAD * threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
        finally:  # also after an image that cannot be read
            pool.shutdown(cancel_futures=True)

    def _read(self, name: str) -> NDArray[np.uint8]:
        path = self.root / name
        try:
            rgb = read_image(path)
        except Exception as error:  # see read_image
            raise TP1Error(f"cannot read image {path}: {why(error)}. Mend or remove the file.") from error
        if self.resize is not None:
            rgb = rgb.resize((self.resize, self.resize), Image.Resampling.BICUBIC)
        return np.asarray(rgb)


def _folders(root: Path) -> tuple[str, ...]:
    folders = tuple(sorted(entry.name for entry in root.iterdir() if entry.is_dir() and entry.name[0] != "."))
    if len(folders) < 2:
        raise TP1Error(f"{root} has {len(folders)} class folders: it needs one folder of images per class, 2 or more.")
    return folders
