"""A source that breaks its promises is refused by name: nothing is trained on what it did not mean."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from tp1.base.errors import TP1Error
from tp1.data.cache import load_images
from tp1.data.source import Listing

NAMES = list("abcdefghi")
LABELS = np.array([0, 1, 2] * 3)


@dataclass
class Made:
    """Nine black images of three classes, or what a test makes of them."""

    names: list[str] = field(default_factory=lambda: NAMES)
    labels: object = field(default_factory=lambda: LABELS)
    image: object = field(default_factory=lambda: np.zeros((8, 8, 3), np.uint8))
    hashed: dict[str, Path] = field(default_factory=lambda: {"x.py": Path(__file__)})
    name = "made"
    origin = "made here"
    resize = None

    def files(self):
        return self.hashed

    def list(self):
        return Listing(("x", "y", "z"), self.names, self.labels, None)

    def decode(self, listing):
        return (self.image for _ in listing.names)


def test_one_that_keeps_them_is_read(tmp_path):
    assert load_images(Made(), tmp_path).pixels.shape == (9, 8, 8, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hashed": {}}, "the source names no file that its images are made of"),
        (
            {"names": [*NAMES[:-1], "h"]},
            "made here lists 9 images: there must be some, their names distinct and sorted",
        ),
        ({"names": NAMES[::-1]}, "distinct and sorted"),
        ({"names": [], "labels": np.array([], np.int64)}, "made here lists 0 images"),
        ({"labels": LABELS + 1}, "made here has labels that do not fit its 3 classes"),
        ({"labels": LABELS - 1}, "labels that do not fit"),
        ({"labels": np.array([0, 1, 1] * 3)}, "labels that do not fit"),
        ({"labels": list("xyzxyzxyz")}, "labels that do not fit"),
        ({"labels": LABELS[:4]}, "labels that do not fit"),
        ({"image": np.zeros((8, 8, 3))}, r"made here decodes a to something else than uint8 RGB \(H, W, 3\)"),
        ({"image": np.zeros((8, 8, 3), np.int64)}, "something else than uint8"),
        ({"image": np.zeros((8, 8), np.uint8)}, "something else than uint8"),
        ({"image": np.zeros((8, 8, 4), np.uint8)}, "something else than uint8"),
        ({"image": "black"}, "something else than uint8"),
    ],
)
def test_one_that_does_not_is_refused(tmp_path, change, message):
    with pytest.raises(TP1Error, match=message):
        load_images(Made(**change), tmp_path)
    assert not list(tmp_path.glob("made-*"))
