"""Data sets of torchvision: its own classes read generated files in the real formats, with the official parts."""

import gzip
import hashlib
import json
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets
from PIL import Image

from tests.conftest import all_runs, coloured_images, invoke, write_folder
from tp1.base.errors import TP1Error
from tp1.data.dataset import load_data
from tp1.data.sources import find_source
from tp1.data.torchvision_sets import SETS


def write_mnist(root: Path, name: str, side: int = 28) -> None:
    """IDX files, as those of MNIST, with ten images of each class for training and two for testing."""
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 100), ("t10k", 20)):
        labels = np.arange(count, dtype=np.uint8) % 10
        grey = np.random.default_rng(count).integers(0, 256, (count, side, side), dtype=np.uint8)
        images = struct.pack(">IIII", 0x0803, count, side, side) + grey.tobytes()
        (raw / f"{part}-images-idx3-ubyte").write_bytes(images)
        (raw / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x0801, count) + labels.tobytes())


def write_cifar100(root: Path, monkeypatch) -> None:
    kind = torchvision.datasets.CIFAR100
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    for name, count in (("train", 500), ("test", 100)):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 3072), dtype=np.uint8)
        content = pickle.dumps({"data": pixels, "fine_labels": [row % 100 for row in range(count)]})
        (folder / name).write_bytes(content)
        monkeypatch.setattr(kind, f"{name}_list", [[name, hashlib.md5(content).hexdigest()]])
    names = [f"thing {number}" for number in range(100)]
    content = pickle.dumps({"fine_label_names": names})
    (folder / "meta").write_bytes(content)
    meta = {"filename": "meta", "key": "fine_label_names", "md5": hashlib.md5(content).hexdigest()}
    monkeypatch.setattr(kind, "meta", meta)


def write_dtd(root: Path) -> None:
    """Photographs of different sizes, and lists of the parts."""
    folder = root / "dtd" / "dtd"
    (folder / "labels").mkdir(parents=True)
    for place, part in enumerate(("train", "val", "test")):
        lines = []
        for label, name in enumerate(("banded", "dotted")):
            (folder / "images" / name).mkdir(parents=True, exist_ok=True)
            for number in range(4):
                image = Image.fromarray(coloured_images(label, 1, 40 + number, seed=10 * place + number)[0])
                image.save(folder / "images" / name / f"{name}_{place}{number}.jpg")
                lines.append(f"{name}/{name}_{place}{number}.jpg")
        (folder / "labels" / f"{part}1.txt").write_text("\n".join(lines))


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "data" / "torchvision"


def test_idx_files(root, tmp_path):
    write_mnist(root / "FashionMNIST", "FashionMNIST")
    data = load_data("torchvision:FashionMNIST")
    assert (len(data.train), len(data.val), len(data.test)) == (90, 10, 20)
    assert data.classes[0] == "T-shirt/top"
    assert data.image_shape == (28, 28, 3)
    assert data.name == "torchvision:FashionMNIST"
    official = torchvision.datasets.FashionMNIST(str(root / "FashionMNIST"), train=False)
    assert np.array_equal(data.test.images[3][..., 0], np.asarray(official[3][0]))
    before = data.digest
    (root / "FashionMNIST" / "FashionMNIST" / "raw" / "train-images-idx3-ubyte.gz").unlink()  # the archive
    assert load_data("torchvision:FashionMNIST").digest == before


def test_pickles_with_checksums(root, monkeypatch):
    write_cifar100(root / "CIFAR100", monkeypatch)
    data = load_data("torchvision:CIFAR100")
    assert (len(data.train), len(data.val), len(data.test)) == (400, 100, 100)
    assert data.classes[42] == "thing 42"


def test_digits_with_more_than_a_label(root):
    raw = root / "QMNIST" / "QMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 100), ("test", 20)):
        labels = np.full((count, 8), 7, dtype=">i4")
        labels[:, 0] = np.arange(count) % 10
        grey = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        (raw / f"qmnist-{part}-images-idx3-ubyte").write_bytes(
            struct.pack(">IIII", 0x0803, count, 28, 28) + grey.tobytes()
        )
        (raw / f"qmnist-{part}-labels-idx2-int").write_bytes(struct.pack(">III", 0x0C02, count, 8) + labels.tobytes())
    data = load_data("torchvision:QMNIST")
    assert (len(data.train), len(data.val), len(data.test)) == (90, 10, 20)
    assert np.bincount(data.test.labels).tolist() == [2] * 10


def test_counts_are_classes(root):
    folder = root / "CLEVRClassification" / "clevr" / "CLEVR_v1.0"
    (folder / "scenes").mkdir(parents=True)
    for part in ("train", "val"):
        (folder / "images" / part).mkdir(parents=True)
        scenes = []
        for number in range(40):
            name, objects = f"CLEVR_{part}_{number:06d}.png", 3 + 7 * (number % 2)
            Image.fromarray(coloured_images(number % 2, 1, 24, seed=number)[0]).save(folder / "images" / part / name)
            scenes.append({"image_filename": name, "objects": [{}] * objects})
        (folder / "scenes" / f"CLEVR_{part}_scenes.json").write_text(json.dumps({"scenes": scenes}), encoding="utf-8")
    data = load_data("torchvision:CLEVRClassification")
    assert data.classes == ("3", "10")
    assert len(data.val) == 40


def test_a_table_of_pixels(root, monkeypatch):
    rows = ["emotion,pixels,Usage"]
    for number in range(60):
        usage = "Training" if number < 40 else "PublicTest"
        rows.append(f"{number % 2},{' '.join(str((number + place) % 256) for place in range(48 * 48))},{usage}")
    path = root / "FER2013" / "fer2013" / "fer2013.csv"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(rows), encoding="utf-8")
    resources = torchvision.datasets.FER2013._RESOURCES
    monkeypatch.setitem(resources, "fer", (path.name, hashlib.md5(path.read_bytes()).hexdigest()))
    data = load_data("torchvision:FER2013")
    assert (len(data.train) + len(data.val), len(data.test)) == (40, 20)
    assert data.test.images[1, 0, :3, 0].tolist() == [41, 42, 43]


def test_a_part_without_labels_is_said_in_one_line(root, monkeypatch):
    """Kaggle's test.csv has none: torchvision gives None for each."""
    folder = root / "FER2013" / "fer2013"
    folder.mkdir(parents=True)
    pixels = " ".join(["7"] * 48 * 48)
    for part, rows in {"train": ["emotion,pixels", f"0,{pixels}", f"1,{pixels}"], "test": ["pixels", pixels]}.items():
        path = folder / f"{part}.csv"
        path.write_text("\n".join(rows), encoding="utf-8")
        checksum = hashlib.md5(path.read_bytes()).hexdigest()
        monkeypatch.setitem(torchvision.datasets.FER2013._RESOURCES, part, (path.name, checksum))
    with pytest.raises(TP1Error, match=r"FER2013 in .* has no labels for its part test: .* files with labels") as error:
        load_data("torchvision:FER2013")
    assert len(str(error.value).splitlines()) == 1


def test_photographs_with_three_parts(root):
    write_dtd(root / "DTD")
    with pytest.raises(TP1Error, match="differ in size"):
        load_data("torchvision:DTD")
    data = load_data("torchvision:DTD", image_size=32)
    assert tuple(map(len, (data.train, data.val, data.test))) == (8, 8, 8)
    assert data.image_shape == (32, 32, 3)
    assert data.classes == ("banded", "dotted")


def test_a_run_is_named_after_it(store, root):
    write_mnist(root / "KMNIST", "KMNIST")
    result = invoke("cnn-base", "dataset=torchvision:KMNIST", "image_size=32", "epochs=1")
    assert result.exit_code == 0, result.stderr
    (run,) = all_runs()
    assert run.data.tags["tp1.dataset"] == "torchvision:KMNIST"
    assert {item.dataset.name for item in run.inputs.dataset_inputs} >= {"torchvision:KMNIST-test"}


@pytest.mark.parametrize("name", sorted(SETS))
def test_all_are_classes_of_torchvision_with_these_arguments(name, tmp_path):
    """Each is found not to be there; an argument that it does not have would be another error."""
    kind = getattr(torchvision.datasets, name)
    assert issubclass(kind, torchvision.datasets.VisionDataset)
    with pytest.raises(TP1Error, match=rf"cannot read torchvision\.datasets\.{name} in .* \(") as error:
        find_source(f"torchvision:{name}", tmp_path).list()
    assert "Unknown value" not in str(error.value)


def test_one_that_cannot_be_downloaded_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "url", "http://127.0.0.1:9/cifar-100-python.tar.gz")
    with pytest.raises(
        TP1Error, match=r"torchvision:CIFAR100 is not in .* and could not be downloaded \(.*refused.*\)"
    ):
        load_data("torchvision:CIFAR100", tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == [".tp1-download.lock"]


def test_an_unknown_one_is_refused_with_a_suggestion(tmp_path):
    with pytest.raises(TP1Error, match=r"no data set torchvision:cifar100: did you mean torchvision:CIFAR100\?"):
        find_source("torchvision:cifar100", tmp_path)
    with pytest.raises(TP1Error, match=r"no data set torchvision:COCO: there are CIFAR10, "):
        find_source("torchvision:COCO", tmp_path)


def test_an_archive_is_to_be_unpacked(tmp_path):
    write_folder(tmp_path / "set", per_class=1)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.write(tmp_path / "set" / "a" / "000.png", "set/a/000.png")
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "set", "set")
    with pytest.raises(TP1Error, match=r"set\.zip is an archive: unpack it \(unzip .*set\.zip -d .*/set\)"):
        find_source(str(tmp_path / "set.zip"), tmp_path)
    with pytest.raises(TP1Error, match=r"x\.tar\.gz is an archive: unpack it \(mkdir .*/x && tar -xf"):
        find_source(str(tmp_path / "x.tar.gz"), tmp_path)
    with pytest.raises(TP1Error, match=r"000\.png is a file: give dataset= the folder"):
        find_source(str(tmp_path / "set" / "a" / "000.png"), tmp_path)
