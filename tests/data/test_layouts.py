"""Folders as people have them: each is read as it is meant, or one line says all that stands in the way."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import coloured_images, invoke
from tp1.base.errors import TP1Error
from tp1.data.dataset import load_data
from tp1.data.image_files import find_images

SIDE = 8
Build = Callable[[Path], object]


def images(folder: Path, count: int = 6, suffix: str = "png", label: int = 0, start: int = 0) -> None:
    """Write images into a folder; with the same arguments, the same ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(coloured_images(label, count, SIDE, seed=start)):
        Image.fromarray(image).save(folder / f"{start + number:03d}.{suffix}")


def parts(*names: str, classes: str = "ab", count: int = 6) -> Build:
    def build(root: Path) -> None:
        for place, name in enumerate(names):
            for label, one in enumerate(classes):
                images(root / name / one, count, label=label, start=100 * place)

    return build


def classes(*names: str, count: int = 6, suffix: str = "png") -> Build:
    def build(root: Path) -> None:
        for label, name in enumerate(names):
            images(root / name, count, suffix, label)

    return build


def also(first: Build, *changes: Build) -> Build:
    def build(root: Path) -> None:
        first(root)
        for change in changes:
            change(root)

    return build


def file(name: str, content: bytes = b"x") -> Build:
    def build(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)

    return build


def loose(folder: str, count: int = 3) -> Build:
    return lambda root: images(root / folder, count, start=900)


# What a folder holds, the images of its three parts, and a note.
READ: dict[str, tuple[Build, tuple[int, int, int], str]] = {
    "class folders": (classes("a", "b", count=10), (14, 2, 4), ""),
    "train and test": (parts("train", "test"), (10, 2, 12), ""),
    "train and val": (parts("train", "val", count=10), (16, 20, 4), "It has train/ and val/: the test images are cut"),
    "train, valid and test, as of Kaggle": (parts("train", "valid", "test"), (12, 12, 12), ""),
    "train, validation and testing": (parts("training", "validation", "testing"), (12, 12, 12), ""),
    "Train, DEV and Test": (parts("Train", "DEV", "Test"), (12, 12, 12), ""),
    "train alone": (parts("train", count=10), (14, 2, 4), "It has its class folders in train/"),
    "test alone": (parts("test", count=10), (14, 2, 4), "It has its class folders in test/"),
    "a folder in a folder": (classes("2750/x/a", "2750/x/b", count=10), (14, 2, 4), "its class folders in 2750/x/"),
    "parts in a folder": (
        lambda root: parts("train", "val", "test")(root / "set"),
        (12, 12, 12),
        "",
    ),
    "unlabelled test images": (
        also(parts("train", count=10), loose("test", 7)),
        (14, 2, 4),
        "Left out: 7 images in test/ without labels",
    ),
    "unlabelled test images in a folder": (
        also(parts("train", "val", count=10), loose("test/images", 7)),
        (16, 20, 4),
        "Left out: 7 images in test/ without labels",
    ),
    "an empty test folder": (
        also(parts("train", "val", count=10), lambda root: (root / "test").mkdir()),
        (16, 20, 4),
        "Left out: test/, which has no images",
    ),
    "loose images in the parts": (
        also(parts("train", "val", count=10), loose("train"), loose("val")),
        (16, 20, 4),
        "3 images in train/ outside of its class folders; 3 images in val/ outside",
    ),
    "another folder beside the parts": (
        also(parts("train", "test"), loose("sample")),
        (10, 2, 12),
        "3 images in sample/, which is no part",
    ),
    "loose images beside class folders": (
        also(classes("a", "b", count=10), loose(".")),
        (14, 2, 4),
        "3 images outside of the class folders",
    ),
    "a class that is called train": (classes("bus", "car", "train", count=10), (21, 3, 6), ""),
    "seg_train, seg_test and another, each within itself": (
        also(
            parts("seg_train/seg_train", "seg_test/seg_test", count=10),
            loose("seg_pred/seg_pred"),
        ),
        (18, 2, 20),
        "Left out: 3 images in seg_pred/, which is no part",
    ),
    "training_set and test_set": (parts("training_set/training_set", "test_set/test_set", count=10), (18, 2, 20), ""),
    "train within train": (parts("train/train", "val/val", "test/test"), (12, 12, 12), ""),
    "train and unlabelled test1": (
        also(parts("train", count=10), loose("test1", 7)),
        (14, 2, 4),
        "7 images in test1/ without labels",
    ),
    "train and a folder with the same classes": (
        parts("train", "holdout", count=10),
        (14, 2, 4),
        "20 images in holdout/, which is no part",
    ),
    "classes whose names have such words": (
        classes("bullet_train", "steam train", "test tube", count=10),
        (21, 3, 6),
        "",
    ),
    "parts within the classes": (
        also(parts("a/train", "b/train", "a/val", "b/val", "a/test", "b/test", classes="x"), loose("a")),
        (12, 12, 12),
        "3 images outside of the parts",
    ),
    "the same sub-folders in several classes": (
        parts("colour", "grey", count=10),
        (28, 4, 8),
        "Sub-folders of the same names lie in several classes (a and b): if these are the classes",
    ),
    "a class with one folder that is called like a part": (
        classes("cat/test", "dog", count=10),
        (14, 2, 4),
        "",
    ),
    "folders within classes": (
        classes("a/left/far", "a/right", "b", count=10),
        (14 + 7, 3, 6),
        "",
    ),
    "files that are no images": (
        also(classes("a", "b", count=10), file("a/x.heic"), file("b/notes.txt"), file("README.md"), file("b/NONE")),
        (14, 2, 4),
        "Left out: 4 files that are no images (1 .heic, 1 .md, 1 .txt, 1 no suffix)",
    ),
    "what macOS and Windows leave": (
        also(
            classes("a", "b", count=10),
            *(file(f"a/{name}") for name in ("._000.png", ".DS_Store", "Thumbs.db", "desktop.ini")),
            *(file(f"{name}/a/000.png") for name in ("__MACOSX", ".ipynb_checkpoints", "@eaDir")),
        ),
        (14, 2, 4),
        "",
    ),
    **{
        f"images as .{suffix}": (classes("a", "b", count=10, suffix=suffix), (14, 2, 4), "")
        for suffix in ("JPG", "jpeg", "jfif", "bmp", "gif", "tif", "TIFF", "webp", "ppm", "pgm", "jp2")
    },
    **{
        f"classes {first} and {second}": (classes(first, second, count=10), (14, 2, 4), "")
        for first, second in [
            ("Corn_(maize)___healthy", "Pepper,_bell"),
            ("L'été & co", "50% off"),
            ("e\u0301te\u0301", "\u00e9t\u00e9"),  # the same name, composed and decomposed
            ("日本語", "العربية"),
            ("true", "false"),
            ("accuracy", "macro avg"),
            ("C++", "C--"),
            ("001", "NA"),
            ("cat 🐈", "-rf"),
        ]
    },
}


@pytest.mark.parametrize("kind", list(READ))
def test_a_folder_is_read_as_it_is_meant(tmp_path, kind):
    build, sizes, note = READ[kind]
    build(tmp_path / "set")
    data = load_data(str(tmp_path / "set"))
    assert tuple(map(len, (data.train, data.val, data.test))) == sizes
    assert note in " ".join(data.reading.notes())
    assert bool(note) == bool(data.reading.notes())
    for part in (data.train, data.val, data.test):
        assert set(part.labels.tolist()) == set(range(len(data.classes)))


REFUSED: dict[str, tuple[Build, str]] = {
    "nothing": (lambda root: root.mkdir(), "0 class folders: it needs one folder of images per class"),
    "images alone": (loose("."), r"0 class folders and 3 images outside of them: it needs one folder of images"),
    "one class": (classes("a"), "has 1 class folders"),
    "train and val without classes": (
        also(loose("train"), loose("val")),
        r"no class folders for training \(train/ 3, val/ 3 images\)",
    ),
    "train and test1 without classes": (
        also(loose("train"), loose("test1")),
        r"no class folders for training \(test1/ 3, train/ 3 images\)",
    ),
    "train with classes beside another folder": (
        also(classes("bus", "train/steam", "train/diesel")),
        r"train/ has folders of images \(steam and diesel|diesel and steam\), and beside it lies bus/",
    ),
    "a data set beside another folder": (
        also(parts("set/train", "set/val"), loose("docs")),
        r"set/ is a data set of its own, with train/ and val/: give dataset=.*/set",
    ),
    **{
        f"classes of which one has {', '.join(inside)} and the other {', '.join(others) or 'none'}": (
            also(*(loose(f"cat/{name}") for name in inside), *(loose(f"dog/{name}", 9) for name in others or [""])),
            rf"cat/ has {' and '.join(f'{name}/' for name in sorted(inside))}, the names of parts, .* its own train/",
        )
        for inside, others in [
            (("val", "test"), ()),
            (("val", "test"), ("train", "val", "test")),
            (("train", "test"), ()),
            (("train", "test"), ("train",)),
        ]
    },
    "parts without one for training beside another folder": (
        also(parts("set/val", "set/test"), loose("docs")),
        r"set/ has test/ and val/, the names of parts",
    ),
    "classes that differ in case and accents": (
        also(
            parts("train", "val"),
            *(classes(f"train/{one}", f"val/{two}") for one, two in [("Cat", "cat"), ("\u00e9", "e\u0301")]),
        ),
        r"\('Cat' and 'cat' differ in capitals or in how accents are stored\)",
    ),
    "two folders for training": (parts("train", "Training", "val"), "Training, |train.* for one part, train: keep one"),
    "classes missing in parts": (
        also(parts("train", classes="abcd"), parts("val", classes="abce"), parts("test", classes="ab")),
        r"train/ and val/ have different classes: val/ lacks \['d'\] and train/ lacks \['e'\]; "
        r"train/ and test/ have different classes: test/ lacks \['c', 'd'\]",
    ),
    "empty classes": (
        also(classes("a", "b"), *(lambda root, name=name: (root / name).mkdir() for name in "cd")),
        r"2 class folders have no images .*\['c', 'd'\]: fill or remove them",
    ),
    "a class of another format": (
        also(classes("a", "b"), file("c/x.heic")),
        r"c has no images .*, but 1 file .*\.heic",
    ),
    "small classes": (
        also(classes("big", count=10), classes("one", count=1), classes("two", count=2)),
        r"2 classes have too few images to split in .*: 'one' has 1 and needs 3; 'two' has 2 and needs 3",
    ),
    "a small class in train": (
        also(parts("train", "test"), lambda root: [path.unlink() for path in sorted((root / "train/b").iterdir())[1:]]),
        "a class has too few images to split in .*: 'b' has 1 and needs 2",
    ),
    "names that are no text": (classes("a\nb", "c\x1b[31m", "d"), r"rename the class folder 'a\\nb', 'c\\x1b\[31m' in"),
}


@pytest.mark.parametrize("kind", list(REFUSED))
def test_a_folder_that_cannot_be_read_is_refused_before_decoding(tmp_path, kind, monkeypatch):
    build, message = REFUSED[kind]
    build(tmp_path / "set")
    monkeypatch.setattr("tp1.data.image_folder.read_image", lambda *args: pytest.fail("an image was decoded"))
    with pytest.raises(TP1Error, match=message) as error:
        load_data(str(tmp_path / "set"))
    assert str(error.value).isprintable()


def test_parts_have_the_same_digest_in_any_case_and_order(tmp_path):
    parts("train", "val", "test")(tmp_path / "one")
    parts("Testing", "VALID", "Training")(tmp_path / "other")
    for name, place in (("Testing", 200), ("VALID", 100), ("Training", 0)):  # the same images as in the first
        for label, one in enumerate("ab"):
            for path in (tmp_path / "other" / name / one).iterdir():
                path.unlink()
            images(tmp_path / "other" / name / one, label=label, start=place)
    first, second = (load_data(str(tmp_path / name)) for name in ("one", "other"))
    assert (first.digest, first.split_digest) == (second.digest, second.split_digest)
    assert np.array_equal(first.pixels, second.pixels)


def test_test_images_can_come_from_val(tmp_path):
    parts("train", "val", count=10)(tmp_path / "set")
    data = load_data(str(tmp_path / "set"), test_from="val")
    assert tuple(map(len, (data.train, data.val, data.test))) == (18, 2, 20)
    assert {data.names[row].partition("/")[0] for row in data.test.index.tolist()} == {"val"}
    parts("train", "val", "test")(tmp_path / "whole")
    with pytest.raises(TP1Error, match=r"test_from=val: .* has a test part of its own"):
        load_data(str(tmp_path / "whole"), test_from="val")
    classes("a", "b")(tmp_path / "flat")
    with pytest.raises(TP1Error, match=r"test_from=val: .* has no val/"):
        load_data(str(tmp_path / "flat"), test_from="val")


def test_prediction_finds_the_images_that_training_reads(tmp_path):
    build, _, _ = READ["what macOS and Windows leave"]
    also(build, file("a/x.heic"), loose("a/sub"), lambda root: images(root / "b", 2, "webp", start=50))(
        tmp_path / "set"
    )
    found = find_images([tmp_path / "set"])
    data = load_data(str(tmp_path / "set"))
    assert [Path(image.name).relative_to(tmp_path / "set").as_posix() for image in found] == list(data.names)
    assert all(image.true_class(data.classes) for image in found)


def test_a_run_says_what_was_left_out_and_that_the_batch_is_all_images(store, tmp_path):
    also(parts("train", "val", count=10), loose("test", 7))(tmp_path / "set")
    result = invoke("cnn-base", f"dataset={tmp_path / 'set'}", "image_size=32", "epochs=1")
    assert result.exit_code == 0, result.stderr
    assert "A batch is all 16 training images: there are fewer than batch_size=64." in result.stdout
    assert "Left out: 7 images in test/ without labels" in result.stdout
