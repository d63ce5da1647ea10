"""CIFAR-10, as torchvision downloads it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tp1.base.errors import TP1Error, why
from tp1.data.downloads import alone
from tp1.data.source import Listing, sorted_listing

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"


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
        return sorted_listing(tuple(data.classes), names, labels, ("train", "test"))

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
                with alone(self.root):
                    return CIFAR10(str(self.root), train=part == "train", download=True)
        except (OSError, RuntimeError) as error:
            raise TP1Error(
                f"CIFAR-10 is not in {self.root} and could not be downloaded from {CIFAR10_URL} ({why(error)}). "
                "Put it there, name its folder with data_dir=, or use dataset=digits."
            ) from error
