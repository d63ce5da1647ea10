"""What was read before is read the same for ever: names, digests, splits and pixels, and earlier caches stay valid."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from tp1.data.cache_folder import cache_dir, entries
from tp1.data.dataset import load_data


def write(root: Path, *folders: str, count: int = 10) -> None:
    """Images as PPM files, whose bytes depend on no encoder, by the names of EuroSAT's and CIFAR-10's."""
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True)
        pixels = np.random.default_rng(number).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
        for row, image in enumerate(pixels):
            (root / folder / f"{Path(folder).name}_{row}.jpg").write_bytes(b"P6 8 8 255\n" + image.tobytes())


CLASSES = ("AnnualCrop", "Forest", "SeaLake")
KNOWN = {  # digest, split digest, digest of the pixels, digest of the rows in each part
    "eurosat": ("bcf13c429e941ac7", "fae2959bf40ded62", "a7f030af28e4ec78", "cb1936ccae9f0f75"),
    "cifar10": ("bcac6f72b67e3418", "ae3ce2814712e3a8", "e9b9b04187dae458", "7945a2520ecfd769"),
}


@pytest.fixture
def both(tmp_path) -> Path:
    """Class folders as EuroSAT has, and parts as the image folder of CIFAR-10 has."""
    write(tmp_path / "data" / "eurosat" / "2750", *CLASSES)
    write(tmp_path / "data" / "cifar10", *(f"{part}/{name}" for part in ("train", "test") for name in ("cat", "dog")))
    return tmp_path / "data"


@pytest.mark.parametrize("name", list(KNOWN))
def test_digests_and_splits_are_fixed_for_ever(both, name):
    data = load_data(name, both)
    pixels = hashlib.sha256(np.ascontiguousarray(data.pixels)).hexdigest()[:16]
    parts = hashlib.sha256(str([part.index.tolist() for part in (data.train, data.val, data.test)]).encode())
    assert (data.digest, data.split_digest, pixels, parts.hexdigest()[:16]) == KNOWN[name]


@pytest.mark.parametrize("name", list(KNOWN))
def test_an_entry_of_the_cache_is_as_earlier_versions_wrote_it(both, name):
    """So that theirs are read, and ours by them."""
    digest = load_data(name, both).digest
    (entry,) = entries(cache_dir())
    assert entry.name == f"{name}-{digest}"
    meta = json.loads((entry.path / "meta.json").read_text(encoding="utf-8"))
    assert meta["format"] == 3
    assert set(meta) == {"format", "shape", "pixels_sha256", "classes", "names", "labels", "is_test", "check"}
