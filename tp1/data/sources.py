"""Where images come from, before they are decoded: one class per kind of source."""

import os
import stat
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tp1.base.errors import TP1Error
from tp1.base.names import is_folder, is_plain, user_path

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

SUFFIXES = (".jpg", ".jpeg", ".png")
# Formats that an image file may have, whatever its suffix: those that Pillow decodes itself. For PostScript it would
# start Ghostscript.
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
READ_AHEAD = 4  # decoded images per reading thread that may wait in memory
CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"


@dataclass(frozen=True)
class Listing:
    """The content of a source: N images in the order of their names.

    ``names`` are distinct and sorted, ``labels`` (N,) are indices into ``classes``, and ``is_test`` (N,) marks
    the source's own test images (None: it has none).
    """

    classes: tuple[str, ...]
    names: list[str]
    labels: NDArray[np.int64]
    is_test: NDArray[np.bool_] | None


class Source(Protocol):
    """Images that can be listed and decoded."""

    @property
    def name(self) -> str:
        """The data set's name, such as ``cifar10``."""

    @property
    def origin(self) -> str:
        """A path or URL that says where the images come from."""

    @property
    def resize(self) -> int | None:
        """Pixels per side to which every image is resized; None: images keep their sizes."""

    def files(self) -> Mapping[str, Path]:
        """The files that hold the images, by a name that does not depend on where they are stored."""

    def list(self) -> Listing:
        """The images' names and labels."""

    def decode(self, listing: Listing) -> Iterator[NDArray[np.uint8]]:
        """Each image of ``listing``, in order, as uint8 RGB (H, W, 3)."""


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
        return _sorted_listing(classes[parts[0]], names, labels, parted=parted)

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
            raise TP1Error(f"cannot read image {path}: {error}. Mend or remove the file.") from error
        if self.resize is not None:
            rgb = rgb.resize((self.resize, self.resize), Image.Resampling.BICUBIC)
        return np.asarray(rgb)


class Cifar10:
    """CIFAR-10 (Krizhevsky 2009) as torchvision downloads and verifies it: 60,000 images of 32x32 pixels.

    Raises:
        TP1Error: On first use: it is not in ``root`` and cannot be downloaded.
    """

    name = "cifar10"
    origin = CIFAR10_URL
    resize = None

    def __init__(self, root: Path) -> None:
        self.root = root

    def files(self) -> Mapping[str, Path]:
        folder = self.root / "cifar-10-batches-py"
        batches = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"]
        if not all((folder / batch).is_file() for batch in batches):
            self._load("train")  # downloads
        return {batch: folder / batch for batch in batches}

    def list(self) -> Listing:
        names: list[str] = []
        labels: list[int] = []
        for part in ("test", "train"):
            data = self._load(part)
            names += [f"{part}/{data.classes[label]}/{row:05d}" for row, label in enumerate(data.targets)]
            labels += data.targets
        return _sorted_listing(tuple(data.classes), names, labels, parted=True)

    def decode(self, listing: Listing) -> Iterator[NDArray[np.uint8]]:
        arrays = {part: self._load(part).data for part in ("test", "train")}
        for name in listing.names:
            part, _, row = name.split("/")
            yield arrays[part][int(row)]

    def _load(self, part: str) -> "CIFAR10":
        from torchvision.datasets import CIFAR10

        try:
            try:
                return CIFAR10(str(self.root), train=part == "train", download=False)
            except RuntimeError:  # not there, or its checksums are wrong
                with _alone(self.root):
                    return CIFAR10(str(self.root), train=part == "train", download=True)
        except (OSError, RuntimeError) as error:
            raise TP1Error(
                f"CIFAR-10 is not in {self.root} and could not be downloaded from {CIFAR10_URL} ({error}). "
                "Put it there, name its folder with data_dir=, or use dataset=digits."
            ) from error


class Digits:
    """scikit-learn's bundled 1,797 handwritten digits (8x8 grey, 0 to 16) as 32x32 RGB: no download.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI (1998), test part.
    """

    name = "digits"
    origin = "sklearn.datasets.load_digits"
    resize = None

    def files(self) -> Mapping[str, Path]:
        import sklearn.datasets

        name = "digits.csv.gz"
        return {name: Path(sklearn.datasets.__file__).parent / "data" / name}

    def list(self) -> Listing:
        from sklearn.datasets import load_digits

        labels = load_digits().target.astype(np.int64)
        names = [f"{row:04d}" for row in range(len(labels))]
        return Listing(tuple("0123456789"), names, labels, None)

    def decode(self, listing: Listing) -> Iterator[NDArray[np.uint8]]:
        from sklearn.datasets import load_digits

        for grey in load_digits().images:
            small = Image.fromarray(np.round(grey * (255 / 16)).astype(np.uint8))
            yield np.asarray(small.resize((32, 32), Image.Resampling.BICUBIC).convert("RGB"))


def find_source(dataset: str, data_dir: Path) -> Source:
    """Return the source that ``dataset`` names.

    Args:
        dataset: ``cifar10``, ``eurosat``, ``digits``, a folder below ``data_dir``, or a path to a folder.
        data_dir: The folder of data sets, to which CIFAR-10 and EuroSAT are downloaded.

    Raises:
        TP1Error: There is no such data set, its path cannot be printed, or EuroSAT cannot be downloaded.
    """
    if dataset == "digits":
        return Digits()
    if dataset == "eurosat":
        return ImageFolder("eurosat", _eurosat_folder(data_dir))
    if dataset == "cifar10" and not is_folder(data_dir / "cifar10" / "train"):
        return Cifar10(data_dir)
    path = user_path(dataset)
    is_path = dataset.startswith((".", "~", os.sep)) or os.sep in dataset
    root = Path(os.path.realpath(path)) if is_path else data_dir / dataset
    if not is_folder(root):
        raise TP1Error(
            f"no data set {dataset!r}: it is not cifar10, eurosat or digits, and there is no folder {root}. "
            "Check dataset= and data_dir=."
        )
    if not is_plain(str(root)):  # its name goes into tags, tables and the names of files
        raise TP1Error(f"rename the image folder {root}: its path has control characters, or bytes that are no UTF-8.")
    return ImageFolder(root.name, root)


def read_image(path: Path) -> Image.Image:
    """Read an image file as upright RGB in its own size, on white where it is transparent.

    The declared size is checked against Pillow's limit before any pixel is decoded.

    Raises:
        Exception: Any error of Pillow's readers, such as SyntaxError for a broken PNG; ValueError for a pipe or a
            device, whose reading might never end.
    """
    if stat.S_ISREG(path.stat().st_mode):
        with Image.open(path, formats=FORMATS) as image:
            return as_rgb(image)
    raise ValueError("it is no file")


@contextmanager
def bombs_refused() -> Iterator[None]:
    """Inside the block, Pillow refuses images above its pixel limit; otherwise it only warns up to twice the limit."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def as_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to upright RGB of 8 bits, on white where it is transparent.

    Pillow's own conversion would turn 16-bit greys white and show the arbitrary colours of transparent pixels.

    Raises:
        ValueError: The image's mode has no fixed range of brightness.
    """
    if image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode} has no fixed range of brightness")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))
    elif image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return image.convert("RGB")


def _eurosat_folder(data_dir: Path) -> Path:
    """The folder of EuroSAT RGB (Helber et al. 2019), downloaded by torchvision if it is missing.

    It holds 27,000 images of 64x64 pixels in ten class folders.
    """
    folder = data_dir / "eurosat" / "2750"
    if not folder.is_dir():
        from torchvision.datasets import EuroSAT

        try:
            with _alone(data_dir), TemporaryDirectory(dir=data_dir, prefix=".eurosat-") as fresh:
                if not folder.is_dir():  # torchvision takes any such folder as complete: rename only then
                    EuroSAT(fresh, download=True)
                    folder.parent.mkdir(exist_ok=True)
                    (Path(fresh) / "eurosat" / "2750").rename(folder)
        except (OSError, RuntimeError) as error:
            raise TP1Error(
                f"EuroSAT is not in {folder} and could not be downloaded ({error}). Put its class folders there, or "
                "name its data directory with data_dir=."
            ) from error
    return folder


@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    """Let only one process at a time download into a data directory."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(data_dir / ".tp1-download.lock"):
        yield


def _sorted_listing(classes: tuple[str, ...], names: list[str], labels: list[int], *, parted: bool) -> Listing:
    order = np.argsort(np.array(names), kind="stable")
    names = [names[row] for row in order]
    is_test = np.array([name.startswith("test/") for name in names]) if parted else None
    return Listing(classes, names, np.array(labels, np.int64)[order], is_test)


def _folders(root: Path) -> tuple[str, ...]:
    folders = tuple(sorted(entry.name for entry in root.iterdir() if entry.is_dir() and entry.name[0] != "."))
    if len(folders) < 2:
        raise TP1Error(f"{root} has {len(folders)} class folders: it needs one folder of images per class, 2 or more.")
    return folders
