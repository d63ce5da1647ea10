"""scikit-learn's handwritten digits, which need no download."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tp1.data.source import Listing


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

        images = load_digits().images
        for name in listing.names:
            small = Image.fromarray(np.round(images[int(name)] * (255 / 16)).astype(np.uint8))
            yield np.asarray(small.resize((32, 32), Image.Resampling.BICUBIC).convert("RGB"))
