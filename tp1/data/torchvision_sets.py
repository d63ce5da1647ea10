"""The classification data sets of torchvision: downloaded and checked by torchvision, with their official parts."""

import inspect
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tp1.base.errors import TP1Error, why
from tp1.data.decoding import as_rgb
from tp1.data.downloads import alone
from tp1.data.file_kinds import is_junk
from tp1.data.source import Listing, sorted_listing

PREFIX = "torchvision:"
ARCHIVES = (".gz", ".tar", ".tgz", ".zip")  # unpacked beside themselves: they hold nothing that is not there again


def _train_test() -> dict[str, dict[str, object]]:
    return {"train": {"train": True}, "test": {"train": False}}


def _splits(**parts: str) -> dict[str, dict[str, object]]:
    return {part: {"split": name} for part, name in parts.items()}


# The arguments of the class for each official part; {"": {}} for a data set without parts. Left out: Omniglot, SUN397
# and INaturalist, whose order is the file system's; LFWPeople, whose parts have other people; ImageNet, an image
# folder.
SETS: dict[str, dict[str, dict[str, object]]] = {
    **{name: _train_test() for name in ("CIFAR10", "CIFAR100", "FashionMNIST", "KMNIST", "MNIST", "QMNIST", "USPS")},
    "EMNIST": {part: {"split": "balanced", **given} for part, given in _train_test().items()},
    **{name: _splits(train="train", test="test") for name in ("Food101", "GTSRB", "STL10", "StanfordCars", "SVHN")},
    **{name: _splits(train="train", val="val", test="test") for name in ("DTD", "FGVCAircraft", "Flowers102")},
    **{name: _splits(train="train", val="val", test="test") for name in ("PCAM", "RenderedSST2")},
    "CLEVRClassification": _splits(train="train", val="val"),
    "FER2013": _splits(train="train", test="test"),
    "Places365": {part: {"split": name, "small": True} for part, name in (("train", "train-standard"), ("val", "val"))},
    "Country211": _splits(train="train", val="valid", test="test"),
    "Imagenette": _splits(train="train", val="val"),
    "OxfordIIITPet": _splits(train="trainval", test="test"),
    **{name: {"": {}} for name in ("Caltech101", "Caltech256", "EuroSAT", "SEMEION")},
}


class TorchvisionSet:
    """A data set of ``torchvision.datasets``, in ``<data_dir>/torchvision/<set_name>``.

    Args:
        set_name: A name in :data:`SETS`.
        data_dir: The folder of data sets.
        resize: Pixels per side to which every image is resized; None: images keep their sizes.

    Raises:
        TP1Error: torchvision has no such data set. On first use: it cannot be downloaded or read.
    """

    def __init__(self, set_name: str, data_dir: Path, resize: int | None = None) -> None:
        if set_name not in SETS:
            close = get_close_matches(set_name.lower(), [name.lower() for name in SETS], n=1)
            meant = next((name for name in SETS if close and name.lower() == close[0]), None)
            hint = f"did you mean {PREFIX}{meant}?" if meant else f"there are {', '.join(sorted(SETS))}."
            raise TP1Error(f"no data set {PREFIX}{set_name}: {hint}")
        self.set_name = set_name
        self.data_dir = data_dir
        self.resize = resize
        self._loaded: dict[str, Any] = {}

    @property
    def name(self) -> str:
        return f"{PREFIX}{self.set_name}"

    @property
    def origin(self) -> str:
        return f"torchvision.datasets.{self.set_name} in {self.root}"

    @property
    def root(self) -> Path:
        """The folder of this data set alone."""
        return self.data_dir / "torchvision" / self.set_name

    def resized(self, side: int) -> "TorchvisionSet":
        return TorchvisionSet(self.set_name, self.data_dir, side)

    def files(self) -> Mapping[str, Path]:
        if not self.root.is_dir():
            self._download()
        found = {
            path.relative_to(self.root).as_posix(): path
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and path.suffix.lower() not in ARCHIVES and not is_junk(path.name)
        }
        if not found:
            raise TP1Error(f"{self.root} holds no data set: remove the folder, and it is downloaded again.")
        return found

    def list(self) -> Listing:
        names: list[str] = []
        labels: list[int] = []
        parts = [part for part in SETS[self.set_name] if part]
        for part in SETS[self.set_name]:
            given = _labels_of(self._load(part))
            if any(label is None for label in given):
                raise TP1Error(
                    f"{self.origin} has no labels for {f'its part {part}' if part else 'its images'}: put its files "
                    f"with labels there, of those that torchvision.datasets.{self.set_name} reads."
                )
            found = [int(label) for label in given]
            names += [f"{part}/{row:07d}".lstrip("/") for row in range(len(found))]
            labels += found
        classes = self._class_names()
        if classes is None:  # numbers, such as CLEVR's counts from 3 to 10
            present = sorted(set(labels))
            classes, labels = tuple(map(str, present)), [present.index(label) for label in labels]
        return sorted_listing(classes, names, labels, parts)

    def decode(self, listing: Listing) -> Iterator[NDArray[np.uint8]]:
        for name in listing.names:
            part, _, row = name.rpartition("/")
            try:
                image = as_rgb(self._load(part)[int(row)][0])
            except Exception as error:  # of Pillow's readers, any
                raise TP1Error(
                    f"cannot read image {name} of {self.origin}: {why(error)}. Mend its file, or remove the folder, "
                    "and it is downloaded again; skip_broken= is for image folders."
                ) from error
            if self.resize is not None:
                image = image.resize((self.resize, self.resize), Image.Resampling.BICUBIC)
            yield np.asarray(image)

    def _class_names(self) -> tuple[str, ...] | None:
        """The names that torchvision has for the classes; None: it has none."""
        data = next(iter(self._loaded.values()))
        given = getattr(data, "classes", None) or getattr(data, "categories", None)
        if not given:
            return None
        names = [", ".join(name) if isinstance(name, tuple | list) else str(name) for name in given]
        return tuple(f"{name} {place}" if names.count(name) > 1 else name for place, name in enumerate(names))

    def _load(self, part: str) -> Any:
        if part not in self._loaded:
            try:
                self._loaded[part] = self._make(self.root, part, download=False)
            except (OSError, RuntimeError, ValueError, ImportError) as error:
                raise TP1Error(
                    f"cannot read {self.origin} ({why(error)}). Remove the folder, and it is downloaded again."
                ) from error
        return self._loaded[part]

    def _download(self) -> None:
        """Download into a folder beside, and rename it when all is there: torchvision takes any folder as complete."""
        try:
            with (
                alone(self.data_dir),
                TemporaryDirectory(dir=self.data_dir, prefix=f".{self.set_name}-", ignore_cleanup_errors=True) as fresh,
            ):
                if not self.root.is_dir():
                    for part in SETS[self.set_name]:
                        self._make(Path(fresh) / self.set_name, part, download=True)
                    self.root.parent.mkdir(exist_ok=True)
                    (Path(fresh) / self.set_name).rename(self.root)
        except (OSError, RuntimeError, ValueError, ImportError) as error:
            raise TP1Error(
                f"{self.name} is not in {self.root} and could not be downloaded ({why(error)}). Put it there as "
                f"torchvision.datasets.{self.set_name}(root) lays it out, or name its data directory with data_dir=."
            ) from error

    def _make(self, root: Path, part: str, *, download: bool) -> Any:
        import torchvision.datasets  # here, because it imports torch

        kind = getattr(torchvision.datasets, self.set_name)
        if download:
            root.mkdir(parents=True, exist_ok=True)
        # One that cannot be downloaded has no such argument; one with other arguments passes it on.
        parameters = inspect.signature(kind.__init__).parameters
        given = {"download": download} if {"download", "kwargs"} & parameters.keys() else {}
        return kind(str(root), **SETS[self.set_name][part], **given)


def _labels_of(data: Any) -> list[Any]:
    """The class numbers of all images, without decoding these if torchvision keeps the numbers somewhere.

    None stands for that of an image without a label.
    """
    for attribute in ("targets", "labels", "_labels", "y"):
        found = getattr(data, attribute, None)
        if found is not None and len(found) == len(data):
            if getattr(found, "ndim", 1) == 2:  # QMNIST: the digit, then who wrote it
                found = found[:, 0]
            return list(found)
    samples = getattr(data, "_samples", None)
    return [label for _, label in (samples if samples is not None else (data[row] for row in range(len(data))))]
