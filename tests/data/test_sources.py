"""CIFAR-10, EuroSAT, digits and folders of images are found, listed and decoded."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10

from tests.conftest import coloured_images, write_folder
from tp1.base.errors import TP1Error
from tp1.data.cifar10 import Cifar10
from tp1.data.digits import Digits
from tp1.data.image_folder import ImageFolder
from tp1.data.sources import find_source


def test_cifar10_is_torchvisions_image_for_image(tiny_cifar10):
    source = Cifar10(tiny_cifar10)
    listing = source.list()
    assert listing.classes[:2] == ("airplane", "automobile")
    assert len(listing.names) == 120
    assert listing.names == sorted(listing.names)
    assert listing.is_test is not None
    assert listing.is_test.sum() == 20
    wanted = {"train": CIFAR10(str(tiny_cifar10)), "test": CIFAR10(str(tiny_cifar10), train=False)}
    for name, label, image in zip(listing.names, listing.labels, source.decode(listing), strict=True):
        part, class_name, row = name.split("/")
        assert listing.classes[label] == class_name
        assert np.array_equal(image, wanted[part].data[int(row)])
        assert wanted[part].targets[int(row)] == label


def test_cifar10_that_cannot_be_downloaded_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    with pytest.raises(TP1Error, match=r"could not be downloaded.*dataset=digits"):
        Cifar10(tmp_path / "nothing").files()


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "PNG"])
def test_a_folder_of_classes_is_read_in_order(tmp_path, suffix):
    root = write_folder(tmp_path / "x", per_class=3, side=16, suffix=suffix)
    (root / "a" / "notes.txt").write_text("not an image")
    source = ImageFolder("x", root)
    listing = source.list()
    assert listing.classes == ("a", "b", "c")
    assert listing.is_test is None
    assert listing.names[:4] == [f"a/000.{suffix}", f"a/001.{suffix}", f"a/002.{suffix}", f"b/000.{suffix}"]
    images = list(source.decode(listing))
    assert images[0].shape == (16, 16, 3)
    if suffix == "png":
        assert np.array_equal(images[0], coloured_images(0, 3, 16, seed=7)[0])


def test_train_and_test_folders_keep_their_parts(tmp_path):
    write_folder(tmp_path / "x" / "train", per_class=4)
    write_folder(tmp_path / "x" / "test", per_class=2)
    listing = ImageFolder("x", tmp_path / "x").list()
    assert listing.is_test is not None
    assert listing.is_test.sum() == 6
    assert listing.names[0] == "test/a/000.png"
    assert listing.labels.tolist() == [0, 0, 1, 1, 2, 2, *[0] * 4, *[1] * 4, *[2] * 4]


def test_train_and_test_of_other_classes_are_an_error(tmp_path):
    write_folder(tmp_path / "x" / "train", classes="abc", per_class=2)
    write_folder(tmp_path / "x" / "test", classes="abd", per_class=2)
    with pytest.raises(TP1Error, match=r"different classes: test/ lacks \['c'\] and train/ lacks \['d'\]"):
        ImageFolder("x", tmp_path / "x").list()


def test_an_empty_class_folder_is_named(image_folder):
    shutil.rmtree(image_folder / "b")
    (image_folder / "b").mkdir()
    with pytest.raises(TP1Error, match=r"class folder .*/b has no images"):
        ImageFolder("x", image_folder).list()


def test_a_folder_without_classes_is_an_error(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(TP1Error, match="one folder of images per class"):
        ImageFolder("x", tmp_path / "x").list()


@pytest.mark.parametrize("fault", ["truncated", "empty", "not an image"])
def test_an_unreadable_image_is_named(image_folder, fault):
    path = image_folder / "b" / "004.png"
    data = path.read_bytes()
    path.write_bytes({"truncated": data[: len(data) // 2], "empty": b"", "not an image": b"hello"}[fault])
    source = ImageFolder("x", image_folder)
    with pytest.raises(TP1Error, match=r"cannot read image .*/b/004\.png"):
        list(source.decode(source.list()))


def test_grey_and_transparent_images_become_rgb(image_folder):
    Image.new("L", (32, 32), 100).save(image_folder / "a" / "000.png")
    Image.new("RGBA", (32, 32), (1, 2, 3, 255)).save(image_folder / "a" / "001.png")
    Image.new("RGBA", (32, 32), (1, 2, 3, 0)).save(image_folder / "a" / "002.png")
    source = ImageFolder("x", image_folder)
    images = list(source.decode(source.list()))
    assert images[0][5, 5].tolist() == [100, 100, 100]
    assert images[1][5, 5].tolist() == [1, 2, 3]
    assert images[2][5, 5].tolist() == [255, 255, 255]


def test_sixteen_bit_greys_keep_their_brightness(image_folder):
    grey = np.tile(np.linspace(0, 65535, 32).astype(np.uint16), (32, 1))
    Image.fromarray(grey).save(image_folder / "a" / "000.png")
    source = ImageFolder("x", image_folder)
    found = next(source.decode(source.list()))[0, :, 0]
    assert found.tolist() == np.round(grey[0] / 257).astype(int).tolist()


def test_a_photograph_taken_sideways_is_set_upright(image_folder):
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:8] = 255  # bright above
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it turned clockwise
    Image.fromarray(pixels).save(image_folder / "a" / "000.png", exif=exif)
    source = ImageFolder("x", image_folder)
    image = next(source.decode(source.list()))
    assert image[:, -1].min() == 255
    assert image[:, 0].max() == 0


def test_a_broken_png_chunk_is_named(image_folder):
    path = image_folder / "a" / "000.png"
    data = bytearray(path.read_bytes())
    data[37:41] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    source = ImageFolder("x", image_folder)
    with pytest.raises(TP1Error, match=r"cannot read image .*/a/000\.png"):
        list(source.decode(source.list()))


def test_eurosat_is_renamed_into_place_only_when_it_is_whole(tmp_path, monkeypatch):
    from torchvision.datasets import eurosat

    def interrupted(url, download_root, md5):
        (Path(download_root) / "2750" / "River").mkdir(parents=True)
        raise RuntimeError("the line went dead")

    monkeypatch.setattr(eurosat, "download_and_extract_archive", interrupted)
    with pytest.raises(TP1Error, match=r"EuroSAT is not in .* \(the line went dead\)"):
        find_source("eurosat", tmp_path)
    assert not (tmp_path / "eurosat" / "2750").exists()

    def finished(url, download_root, md5):
        write_folder(Path(download_root) / "2750", per_class=2)

    monkeypatch.setattr(eurosat, "download_and_extract_archive", finished)
    assert len(find_source("eurosat", tmp_path).list().names) == 6
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["eurosat"]


def test_digits_are_scikit_learns(tmp_path):
    from sklearn.datasets import load_digits

    source = Digits()
    listing = source.list()
    assert listing.labels.tolist() == load_digits().target.tolist()
    image = next(source.decode(listing))
    assert image.shape == (32, 32, 3)
    assert image.dtype == np.uint8
    small = np.asarray(Image.fromarray(image).resize((8, 8), Image.Resampling.BOX))[..., 0] * (16 / 255)
    assert np.corrcoef(small.ravel(), load_digits().images[0].ravel())[0, 1] > 0.97


def test_a_name_finds_its_source(tmp_path, image_folder, monkeypatch):
    assert isinstance(find_source("digits", tmp_path), Digits)
    assert isinstance(find_source("cifar10", tmp_path), Cifar10)
    assert find_source("shapes", tmp_path).origin == str(image_folder)
    assert find_source(str(image_folder), tmp_path / "elsewhere").name == "shapes"
    with pytest.raises(TP1Error, match="no data set 'shapse'"):
        find_source("shapse", tmp_path)
    monkeypatch.chdir(image_folder.parent)
    with pytest.raises(
        TP1Error, match=r"no data set 'shapes': .*For the folder of this name here, give dataset=\./shapes"
    ):
        find_source("shapes", tmp_path / "elsewhere")


def test_cifar10_as_a_folder_of_images_is_preferred_to_a_download(tmp_path):
    write_folder(tmp_path / "cifar10" / "train", per_class=2)
    write_folder(tmp_path / "cifar10" / "test", per_class=2)
    source = find_source("cifar10", tmp_path)
    assert isinstance(source, ImageFolder)
    assert source.name == "cifar10"


def test_files_are_named_independently_of_where_they_lie(image_folder):
    files = ImageFolder("x", image_folder).files()
    assert files["a/000.png"] == image_folder / "a" / "000.png"
    assert not any(Path(name).is_absolute() for name in files)
