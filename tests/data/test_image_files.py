"""Images to predict are found and read as they are meant, or named with the reason."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import coloured_images, write_folder
from tp1.base.errors import TP1Error
from tp1.base.names import printable
from tp1.data import image_files
from tp1.data.cache import load_images
from tp1.data.decoding import strict_and_quiet
from tp1.data.image_digests import image_digests
from tp1.data.image_files import find_images, left_out, read_batches, thumbnail
from tp1.data.image_folder import ImageFolder
from tp1.registry.examined_model import resized

SHAPE = (8, 8, 3)


def read(*paths: Path | str, shape: tuple[int, int, int] = SHAPE, size: int = 64):
    return list(read_batches(find_images([Path(path) for path in paths]), shape, size))


def only(path: Path, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """The one image of a file."""
    (batch,) = read(path, shape=shape)
    assert batch.unreadable == []
    return batch.pixels[0]


def halves(mode: str, left: object, right: object) -> Image.Image:
    """8x8 pixels, the left half of one colour and the right half of another."""
    image = Image.new(mode, (8, 8), left)  # type: ignore[arg-type]
    image.paste(right, (4, 0, 8, 8))  # type: ignore[arg-type]
    return image


@pytest.mark.parametrize(
    ("image", "left", "right"),
    [
        (halves("RGB", (10, 20, 30), (200, 100, 50)), (10, 20, 30), (200, 100, 50)),
        (halves("L", 10, 200), (10, 10, 10), (200, 200, 200)),
        (halves("1", 0, 1), (0, 0, 0), (255, 255, 255)),
        (halves("LA", (10, 255), (10, 0)), (10, 10, 10), (255, 255, 255)),
        (halves("RGBA", (10, 20, 30, 255), (0, 0, 0, 0)), (10, 20, 30), (255, 255, 255)),
        (halves("RGBA", (100, 0, 0, 255), (100, 0, 0, 102)), (100, 0, 0), (193, 153, 153)),
        (halves("P", 0, 1), (0, 0, 0), (1, 1, 1)),
        (Image.fromarray(np.tile(np.uint16([0] * 4 + [0x8080] * 4), (8, 1))), (0, 0, 0), (128, 128, 128)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)
def test_every_mode_of_png_becomes_rgb_on_white(tmp_path, image, left, right):
    if image.mode == "P":
        image.putpalette([value for grey in range(256) for value in (grey, grey, grey)])
    image.save(tmp_path / "a.png")
    found = only(tmp_path / "a.png")
    assert found.shape == SHAPE
    assert tuple(found[4, 0]) == left
    assert tuple(found[4, 7]) == right


def test_a_palette_with_a_transparent_colour_is_on_white(tmp_path):
    image = halves("P", 0, 1)
    image.putpalette([0, 0, 0, 9, 9, 9])
    image.save(tmp_path / "a.png", transparency=0)
    assert tuple(only(tmp_path / "a.png")[4, 0]) == (255, 255, 255)
    assert tuple(only(tmp_path / "a.png")[4, 7]) == (9, 9, 9)


@pytest.mark.parametrize("suffix", ["jpg", "bmp", "gif", "tiff", "webp", "ppm"])
def test_every_kind_of_file_is_found_and_read(tmp_path, suffix):
    Image.new("RGB", (8, 8), (250, 0, 0)).save(tmp_path / f"a.{suffix.upper()}")
    np.testing.assert_allclose(only(tmp_path), np.full(SHAPE, (250, 0, 0)), atol=6)


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(only(tmp_path / "a.jpg"), np.full(SHAPE, (255, 0, 0)), atol=6)


@pytest.mark.parametrize(
    "image", [halves("L", 0, 255), Image.fromarray(np.tile(np.uint16([0] * 4 + [65535] * 4), (8, 1)))]
)
def test_a_photo_taken_sideways_is_upright(tmp_path, image):
    """EXIF orientation 6: what is left in the file is up in the picture."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    found = only(tmp_path / "a.png")
    assert found[:4].max() == 0
    assert found[4:].min() == 255


def test_images_of_another_size_are_resized_and_counted(tmp_path):
    for number, side in enumerate((8, 30, 8, 5)):
        Image.fromarray(coloured_images(0, 1, side, seed=number)[0]).save(tmp_path / f"{number}.png")
    (batch,) = read(tmp_path)
    assert batch.resized == 2
    assert batch.pixels.shape == (4, *SHAPE)


def test_resizing_takes_every_pixel_into_account(tmp_path):
    """Without antialiasing a fine chequerboard becomes black, white or a pattern; with it, grey."""
    board = np.indices((256, 256)).sum(axis=0) % 2 * 255
    Image.fromarray(np.repeat(board[..., np.newaxis], 3, axis=2).astype(np.uint8)).save(tmp_path / "a.png")
    np.testing.assert_allclose(only(tmp_path / "a.png"), 127.5, atol=2)


def test_what_a_model_was_trained_on_is_read_to_the_same_pixels(tmp_path):
    root = write_folder(tmp_path / "mixed", per_class=3, side=40)
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        Image.open(path).resize((40 + number, 30 + number)).save(path)
    trained_on = load_images(ImageFolder("mixed", root, resize=16), tmp_path / "cache").pixels
    (batch,) = read(root, shape=(16, 16, 3))
    np.testing.assert_array_equal(batch.pixels, trained_on)


def test_a_shape_that_is_not_square_is_height_by_width(tmp_path):
    halves("L", 0, 255).resize((20, 10)).save(tmp_path / "a.png")
    found = only(tmp_path / "a.png", shape=(4, 12, 3))
    assert found.shape == (4, 12, 3)
    assert found[:, 0].max() == 0
    assert found[:, -1].min() == 255


def test_a_folder_is_read_whole_and_in_order(tmp_path):
    for name in ("b/2.png", "b/1.JPG", "a.png", "b/c/d.png", "b/notes.txt", "b/.hidden.png", ".cache/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name, "jpeg" if name.endswith("JPG") else "png")
    (tmp_path / "b" / "again").symlink_to(tmp_path, target_is_directory=True)
    names = [image.name for image in find_images([tmp_path])]
    assert names == [str(tmp_path / name) for name in ("a.png", "b/1.JPG", "b/2.png", "b/c/d.png")]


def test_a_path_that_is_given_twice_is_predicted_once(tmp_path):
    write_folder(tmp_path / "x", per_class=1)
    file = tmp_path / "x" / "b" / "000.png"
    assert [image.name for image in find_images([file, tmp_path / "x", file])] == [
        str(tmp_path / "x" / name / "000.png") for name in "bac"
    ]
    given = [file, tmp_path / "x", Path(os.path.relpath(tmp_path / "x"))]  # however it is spelled
    assert [image.true_class("abc") for image in find_images(given)] == ["b", "a", "c"]
    assert len(find_images([tmp_path / "x", tmp_path / "x" / ".." / "x"])) == 3


@pytest.mark.parametrize(("side", "size"), [(200, 32), (256, 64), (300, 32)])
def test_pixels_are_the_same_whether_or_not_a_data_set_was_resized_when_it_was_decoded(tmp_path, side, size):
    """Else images that a model was trained on would not be found among others."""
    for root, sides in ((tmp_path / "one", (side,) * 3), (tmp_path / "mixed", (side,) * 3 + (side - 20,))):
        (root / "a").mkdir(parents=True)
        (root / "b").mkdir()
        for number, each in enumerate(sides):
            image = Image.fromarray(coloured_images(0, 1, 20, seed=number)[0]).resize((each, each))
            for label in "ab":
                image.save(root / label / f"{number}.jpg")
    one, mixed = (
        load_images(ImageFolder(name, tmp_path / name), tmp_path / "cache", size) for name in ("one", "mixed")
    )
    assert mixed.pixels.shape[1:] == (size, size, 3)
    known = image_digests(mixed.pixels)
    assert np.isin(image_digests(resized(one.pixels, (size, size, 3))), known).all()


def test_nothing_is_given_twice(tmp_path):
    write_folder(tmp_path / "x", per_class=1)
    assert [image.name for image in find_images([tmp_path / "x", tmp_path / "x"])] == [
        str(tmp_path / "x" / name / "000.png") for name in "abc"
    ]


def test_the_true_class_is_the_folders_where_all_folders_are_classes(tmp_path):
    root = write_folder(tmp_path / "x", per_class=1)
    Image.new("RGB", (8, 8)).save(root / "loose.png")
    (root / "a" / "deeper").mkdir()
    Image.new("RGB", (8, 8)).save(root / "a" / "deeper" / "1.png")
    images = find_images([root])
    assert [image.true_class(("a", "b", "c", "d")) for image in images] == ["a", "a", "b", "c", None]
    assert {image.true_class(("a", "b")) for image in images} == {None}
    assert find_images([root / "a"])[0].true_class(("a", "b", "c", "deeper", "")) is None
    assert find_images([root / "a" / "000.png"])[0].true_class(("a", "b", "c")) is None


def test_folders_relative_to_here(tmp_path, monkeypatch):
    write_folder(tmp_path / "x", per_class=1)
    for here, given, name in ((tmp_path, "x", "x/a/000.png"), (tmp_path / "x", ".", "a/000.png")):
        monkeypatch.chdir(here)
        first = find_images([Path(given)])[0]
        assert (first.name, first.true_class("abc")) == (name, "a")


def test_arrays_of_several_images_and_of_one(tmp_path):
    pixels = coloured_images(0, 70, 8, seed=1)
    np.save(tmp_path / "many.npy", pixels)
    np.save(tmp_path / "one.npy", pixels[0])
    np.save(tmp_path / "large.npy", coloured_images(0, 2, 20, seed=1))
    first, second = read(tmp_path / "many.npy", tmp_path / "one.npy", tmp_path / "large.npy")
    np.testing.assert_array_equal(np.concatenate([first.pixels, second.pixels])[:71], [*pixels, pixels[0]])
    assert (len(first.found), len(second.found), first.resized, second.resized) == (64, 9, 0, 2)
    assert second.found[0].name == f"{tmp_path / 'many.npy'}[64]"


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), "is float32 (2, 8, 8, 3): give uint8 images (N, H, W, 3), or (H, W, 3)"),
        (np.zeros((2, 3, 8, 8), np.uint8), "is uint8 (2, 3, 8, 8)"),
        (np.zeros((8, 8), np.uint8), "is uint8 (8, 8)"),
        (np.zeros((0, 8, 8, 3), np.uint8), "is uint8 (0, 8, 8, 3)"),
        (np.array([{"a": 1}], object), "cannot read the array file"),
    ],
)
def test_an_array_of_something_else_is_refused(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(TP1Error) as caught:
        find_images([tmp_path / "a.npy"])
    assert message in str(caught.value)
    assert str(tmp_path / "a.npy") in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x80\x04N.", b"PK\x03\x04"])
def test_a_file_that_is_no_array_is_refused(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(TP1Error, match="cannot read the array file"):
        find_images([tmp_path / "a.npy"])


def test_what_is_not_there_is_said(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    with pytest.raises(TP1Error, match=r"no images in the folder .*empty \(\.bmp, .*\): check images=\."):
        find_images([tmp_path / "empty"])
    with pytest.raises(TP1Error, match=r"no file or folder .*gone\.png: check images=\."):
        find_images([tmp_path / "gone.png"])


def test_unreadable_files_are_left_out_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    Image.new("RGB", (8, 8), "red").save(tmp_path / "1-good.png")
    noise = coloured_images(0, 1, 30, seed=0)[0]
    Image.fromarray(noise).save(tmp_path / "whole.png")
    (tmp_path / "2-cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:900])
    (tmp_path / "whole.png").unlink()
    (tmp_path / "3-text.png").write_text("hello")
    (tmp_path / "4-empty.png").touch()
    Image.new("RGB", (40, 30)).save(tmp_path / "5-large.png")  # beyond the limit, where Pillow only warns
    Image.new("RGB", (60, 60)).save(tmp_path / "6-huge.png")
    (tmp_path / "7-nowhere.png").symlink_to(tmp_path / "gone")
    Image.fromarray(np.zeros((8, 8), np.int32)).save(tmp_path / "8-wide.tiff")
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "9-good.png")
    with strict_and_quiet():
        (batch,) = read(tmp_path)
    assert [Path(image.name).name for image in batch.found] == ["1-good.png", "9-good.png"]
    np.testing.assert_array_equal(batch.pixels[:, 0, 0], [(255, 0, 0), (0, 0, 255)])
    reasons = {Path(name).name: reason for name, reason in batch.unreadable}
    assert list(reasons) == [
        *("2-cut.png", "3-text.png", "4-empty.png", "5-large.png", "6-huge.png", "7-nowhere.png", "8-wide.tiff")
    ]
    assert "truncated" in reasons["2-cut.png"]
    assert reasons["3-text.png"] == reasons["4-empty.png"] == "not an image"
    assert "decompression bomb" in reasons["5-large.png"]
    assert "decompression bomb" in reasons["6-huge.png"]
    assert reasons["7-nowhere.png"] == "No such file or directory"
    assert "no fixed range of brightness" in reasons["8-wide.tiff"]


def test_batches_come_in_order_and_are_read_ahead_by_a_bounded_number(tmp_path, monkeypatch):
    pixels = coloured_images(0, 100, 8, seed=1)
    np.save(tmp_path / "a.npy", pixels)
    begun: list[int] = []
    real = image_files._read_batch

    def counted(images, shape):
        begun.append(len(images))
        return real(images, shape)

    monkeypatch.setattr(image_files, "_read_batch", counted)
    limit = (image_files.READ_AHEAD + 1) + 1  # one thread, for an array
    count = threading.active_count()
    batches = read_batches(find_images([tmp_path / "a.npy"]), SHAPE, 1)
    taken = [next(batches).pixels[0] for _ in range(3)]
    assert 3 <= len(begun) <= 3 + limit < 100
    batches.close()
    assert threading.active_count() == count  # whoever stops early leaves no thread behind
    assert len(begun) <= 3 + limit
    np.testing.assert_array_equal(taken, pixels[:3])
    everything = [batch.pixels[0] for batch in read_batches(find_images([tmp_path / "a.npy"]), SHAPE, 1)]
    np.testing.assert_array_equal(everything, pixels)


def test_one_thread_reads_small_files_and_each_processor_one_the_larger(tmp_path, monkeypatch):
    begun: list[int] = []
    real = image_files.ThreadPoolExecutor

    def counted(threads):
        begun.append(threads)
        return real(threads)

    monkeypatch.setattr(image_files, "ThreadPoolExecutor", counted)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)  # 24 kB as PNG
    for name, pixels in (("small", noise[:8, :8]), ("large", noise)):
        (tmp_path / name).mkdir()
        for number in range(70):
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    np.save(tmp_path / "a.npy", np.stack([noise[:8, :8]] * 70))
    small, large, array = (
        np.concatenate([batch.pixels for batch in read(tmp_path / name)]) for name in ("small", "large", "a.npy")
    )
    assert begun == [1, 3, 1]
    assert len(small) == len(large) == 70
    np.testing.assert_array_equal(small, array)
    gone = find_images([tmp_path / "small"])
    (tmp_path / "small" / "0.png").unlink()
    (first, _) = read_batches(gone, SHAPE, 64)
    assert [name for name, _ in first.unreadable] == [str(tmp_path / "small" / "0.png")]


@pytest.mark.parametrize(("size", "kind", "shown"), [((8, 4), "PNG", (8, 4)), ((500, 250), "JPEG", (192, 96))])
def test_a_thumbnail_keeps_the_shape(tmp_path, size, kind, shown):
    Image.new("RGB", size, "teal").save(tmp_path / "a.png")
    (image,) = find_images([tmp_path / "a.png"])
    content, small = thumbnail(image)
    (tmp_path / "thumbnail").write_bytes(content)
    with Image.open(tmp_path / "thumbnail") as picture:
        assert (picture.format, picture.size) == (kind, shown)
    assert small == (kind == "PNG")


def test_names_are_one_line():
    assert printable("a\nb\x1b[31m\udcff é.png") == "a\\nb\\x1b[31m\\udcff é.png"


def test_what_is_no_image_is_counted(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert left_out([tmp_path, tmp_path / "a.png"]) == ""
    for name in ("b.heic", "notes.txt", ".DS_Store", "sub/c.heic"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert left_out([tmp_path, tmp_path / "a.png"]) == "3 files that are no images (2 .heic, 1 .txt)"
