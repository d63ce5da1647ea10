"""A look at the files of an image folder before any is decoded: formats, modes, sizes, and what cannot be read."""

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tp1.base.progress import progress
from tp1.data.broken import broken_images
from tp1.data.decoding import FORMATS, strict_and_quiet
from tp1.data.image_folder import ImageFolder
from tp1.data.layout import Layout


@dataclass(frozen=True)
class Survey:
    """What the files of an image folder are.

    Attributes:
        kinds: Number of readable images by (format, mode, width, height), as their files declare them.
        broken: Images that cannot be read: the reason by name.
    """

    layout: Layout
    kinds: Mapping[tuple[str, str, int, int], int]
    broken: Mapping[str, str]

    @property
    def sizes(self) -> set[tuple[int, int]]:
        """The (width, height) that occur."""
        return {(width, height) for _, _, width, height in self.kinds}


def survey_folder(source: ImageFolder, cache: Path) -> Survey:
    """Look at every file of a folder.

    Args:
        cache: The folder of the caches, which remembers the broken images.

    Raises:
        TP1Error: The folder has no known layout, or a file cannot be opened.
    """
    layout = source.layout()
    broken = broken_images(source, cache)
    paths = [path for name, path in layout.files.items() if name not in broken]
    with ThreadPoolExecutor() as pool, strict_and_quiet():
        kinds = Counter(progress(pool.map(_kind, paths), "Looking at files", len(paths)))
    return Survey(layout, kinds, broken)


def _kind(path: Path) -> tuple[str, str, int, int]:
    with Image.open(path, formats=FORMATS) as image:
        animated = " animated" if getattr(image, "n_frames", 1) > 1 else ""
        return f"{image.format}{animated}", image.mode, image.width, image.height
