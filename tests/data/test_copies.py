"""The same picture in two parts is found, said, and dropped from training where that is asked for."""

import shutil

import numpy as np
import pytest
from PIL import Image

from tests.conftest import invoke
from tp1.base.errors import TP1Error
from tp1.data.cache_folder import cache_dir
from tp1.data.dataset import load_data
from tp1.report.folder_look import copies_table


def photograph(seed: int, side: int = 64) -> Image.Image:
    """A picture with structure, as photographs have: coarse noise, enlarged."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture
def parted(tmp_path):
    """24 training and 12 test photographs; one test image is a training image, two are encoded again."""
    root = tmp_path / "photos"
    for number in range(36):
        folder = root / ("train" if number < 24 else "test") / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        photograph(number).save(folder / f"{number:03d}.png")
    shutil.copy(root / "train" / "a" / "000.png", root / "test" / "a" / "copy.png")
    photograph(2).save(root / "test" / "a" / "again.jpg", quality=80)
    photograph(3).resize((48, 48)).resize((64, 64)).save(root / "test" / "b" / "resized.webp", quality=80)
    return root


def found(data) -> set[tuple[str, str, bool]]:
    copies = data.reading.copies
    return {
        (data.names[one], data.names[other], bool(exact))
        for (one, other), exact in zip(copies.pairs.tolist(), copies.exact.tolist(), strict=True)
    }


COPIES = {
    ("train/a/000.png", "test/a/copy.png", True),
    ("train/a/002.png", "test/a/again.jpg", False),
    ("train/b/003.png", "test/b/resized.webp", False),
}


def test_copies_are_found_and_nothing_else(parted):
    data = load_data(str(parted))
    assert found(data) == COPIES
    (note,) = data.reading.notes()
    assert note.startswith(
        "3 pairs of images are the same in two parts, 2 of them encoded again: drop_duplicates=train"
    )


@pytest.fixture
def with_val(parted):
    """The same with four validation photographs, so that none is cut from training."""
    for number in range(40, 44):
        folder = parted / "val" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        photograph(number).save(folder / f"{number:03d}.png")
    return parted


def test_copies_of_copies_are_no_pictures_that_were_encoded_again(with_val):
    """Two and two identical images: each is in a pair, and all pairs are exact."""
    shutil.copy(with_val / "train" / "a" / "000.png", with_val / "train" / "a" / "double.png")
    shutil.copy(with_val / "train" / "a" / "000.png", with_val / "test" / "a" / "double.png")
    data = load_data(str(with_val))
    exact = {(one, other) for one, other, same in found(data) if same}
    assert exact == {
        ("train/a/000.png", "test/a/copy.png"),
        ("train/a/000.png", "test/a/double.png"),
        ("train/a/double.png", "test/a/copy.png"),
    }
    assert found(data) - {(*pair, True) for pair in exact} == {one for one in COPIES if not one[2]}
    assert data.reading.notes()[0].startswith("5 pairs of images are the same in two parts, 2 of them encoded again")
    table = copies_table(data)
    assert sorted(table["same"]) == ["picture"] * 2 + ["pixels"] * 3


def test_copies_do_not_use_up_the_comparisons(with_val, monkeypatch):
    """What is the same to the pixel need not be compared: pictures encoded again are still looked for."""
    monkeypatch.setattr("tp1.data.copies.MOST_CANDIDATES", 10)
    for number in range(5):
        for part in ("train", "test"):
            shutil.copy(with_val / "train" / "a" / "000.png", with_val / part / "a" / f"double{number}.png")
    copies = load_data(str(with_val)).reading.copies
    assert copies.whole
    assert (copies.exact.sum(), len(copies)) == (6 + 6 - 1, 6 + 6 - 1 + 2)


def test_they_are_looked_for_once(parted, monkeypatch):
    load_data(str(parted))
    monkeypatch.setattr("tp1.data.copies._find", lambda *args: pytest.fail("looked for again"))
    assert found(load_data(str(parted))) == COPIES


@pytest.mark.parametrize("content", [b"", b"[]", b'{"content": "[]", "check": ""}', b"\xff"])
def test_an_altered_answer_is_looked_for_again(parted, content):
    load_data(str(parted))
    (known,) = cache_dir().glob("photos-*/copies-*")
    known.write_bytes(content)
    assert found(load_data(str(parted))) == COPIES


def test_training_can_do_without_them(parted):
    before, after = (load_data(str(parted), drop_duplicates=choice) for choice in ("no", "train"))
    assert after.reading.dropped == ("train/a/002.png", "train/b/003.png")  # the third is a validation image
    assert len(before.train) - len(after.train) == 2
    assert after.digest == before.digest
    assert after.split_digest != before.split_digest
    assert after.test.index.tolist() == before.test.index.tolist()
    assert not {after.names[row] for row in after.train.index.tolist()} & set(after.reading.dropped)


@pytest.mark.long
def test_a_run_says_it(store, parted):
    result = invoke("cnn-base", f"dataset={parted}", "epochs=1", "image_size=32", "drop_duplicates=train")
    assert result.exit_code == 0, result.stderr
    assert "the same in two parts, 2 of them encoded again: 2 training images were dropped" in result.stdout


def test_plain_surfaces_and_noise_are_no_copies(tmp_path):
    """Two pictures of the open sea are not one picture; nor are two drawings of small noise."""
    for number in range(40):
        folder = tmp_path / "set" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).normal(0, 2 if number < 20 else 40, (32, 32, 3))
        Image.fromarray(np.clip(100 + noise, 0, 255).astype(np.uint8)).save(folder / f"{number:03d}.png")
    assert len(load_data(str(tmp_path / "set")).reading.copies) == 0


def test_many_copies_are_as_many_pairs_as_images(tmp_path):
    for part, count in (("train", 60), ("test", 40)):
        for name in "ab":
            folder = tmp_path / "set" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
    copies = load_data(str(tmp_path / "set")).reading.copies
    assert len(copies) < 2 * 200
    assert copies.exact.all()
    data = load_data(str(tmp_path / "set"))
    assert len(copies.between(data.train.index, data.test.index)) == len(data.train)
    with pytest.raises(TP1Error, match=r"drop_duplicates=train leaves no training images of \['a', 'b'\]"):
        load_data(str(tmp_path / "set"), drop_duplicates="train")


def test_pictures_that_are_all_alike_are_not_compared_for_ever(parted, monkeypatch):
    monkeypatch.setattr("tp1.data.copies.MOST_CANDIDATES", 1)
    monkeypatch.setattr("tp1.data.copies._near", lambda *args: pytest.fail("compared"))
    data = load_data(str(parted))
    assert found(data) == {("train/a/000.png", "test/a/copy.png", True)}
    assert "Only images with the same pixels were looked for" in data.reading.notes()[-1]
