"""Which files of a folder are images, by one rule for training and prediction, and which nobody means."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tp1.base.errors import TP1Error

# Suffixes of images, in any case. A single file that is given directly to `predict` may have any suffix.
SUFFIXES = (
    *(".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm"),
    *(".tif", ".tiff", ".webp"),
)
# What file managers and archivers leave behind. Names that start with a dot are junk too.
JUNK = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "system volume information")
NO_SUFFIX = "no suffix"


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is ignored, as ``.DS_Store``, ``._x.jpg`` and ``__MACOSX`` are."""
    return name.startswith(".") or name.lower() in JUNK


def is_image(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return name.lower().endswith(SUFFIXES)


@dataclass(frozen=True)
class Tree:
    """What a folder holds, without junk.

    Attributes:
        folders: Its subfolders by name, in the order of their names.
        images: Names of the images directly in it, sorted.
        others: Number of its other files by suffix, such as ``.txt``.
    """

    path: Path
    folders: dict[str, "Tree"] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    def all_images(self) -> Iterator[str]:
        """Paths of all images at any depth, relative to the folder, with ``/`` between the parts."""
        yield from self.images
        for name, folder in self.folders.items():
            for path in folder.all_images():
                yield f"{name}/{path}"

    def all_others(self) -> Counter[str]:
        """Number of all other files at any depth, by suffix."""
        return sum((folder.all_others() for folder in self.folders.values()), self.others)

    @property
    def count(self) -> int:
        """Number of images at any depth."""
        return len(self.images) + sum(folder.count for folder in self.folders.values())

    def filled(self) -> list[str]:
        """Names of the subfolders that hold images at some depth."""
        return [name for name, folder in self.folders.items() if folder.count]


def read_tree(root: Path) -> Tree:
    """Read what a folder holds; links are followed, but not back to a folder above them.

    Raises:
        TP1Error: A folder cannot be read.
    """
    try:
        return _read(root, frozenset())
    except OSError as error:
        raise TP1Error(f"cannot read the folder {error.filename or root}: {error.strerror}.") from error


def _read(path: Path, above: frozenset[tuple[int, int]]) -> Tree:
    stat = path.stat()
    here = above | {(stat.st_dev, stat.st_ino)}
    tree = Tree(path)
    with os.scandir(path) as entries:
        found = sorted((entry for entry in entries if not is_junk(entry.name)), key=lambda entry: entry.name)
    for entry in found:
        if _is_folder(entry):
            stat = entry.stat()
            is_loop = (stat.st_dev, stat.st_ino) in here
            tree.folders[entry.name] = Tree(path / entry.name) if is_loop else _read(path / entry.name, here)
        elif is_image(entry.name):
            tree.images.append(entry.name)
        else:
            tree.others[Path(entry.name).suffix.lower() or NO_SUFFIX] += 1
    return tree


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: reading it as a file says so
        return False


def count_others(others: Counter[str]) -> str:
    """Describe files that are no images, such as ``12 files that are no images (10 .heic, 2 .txt)``; empty for none."""
    most = sorted(others.items(), key=lambda item: (-item[1], item[0] == NO_SUFFIX, item[0]))[:5]
    kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in most)
    total = others.total()
    if total == 0:
        return ""
    return f"1 file that is no image ({kinds})" if total == 1 else f"{total:,} files that are no images ({kinds})"
