"""Damaged, endless, huge and harmful images and archives: each is read or named in one clear line, and none hangs."""

# ruff: noqa: PT017 - a damaged file may also be read, so an error is looked at where there is one

import pickle
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from PIL import Image, PngImagePlugin

from tests.conftest import all_runs, coloured_images, invoke
from tests.support.generated_cases import quick
from tests.support.hostile_files import Harmful, is_clear, make_special, mutated
from tp1.base.errors import TP1Error
from tp1.data.cifar10 import Cifar10
from tp1.data.dataset import load_data
from tp1.data.decoding import read_image, strict_and_quiet
from tp1.data.image_files import find_images, read_batches
from tp1.data.image_folder import ImageFolder


def predicted_from(*paths: Path):
    with strict_and_quiet():
        (batch,) = read_batches(find_images(paths), (8, 8, 3), 32)
    return batch


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_damaged_image_is_named_or_read(small, tmp_path, suffix):
    target = small / "a" / f"x.{suffix}"
    Image.fromarray(coloured_images(0, 1, 8, seed=1)[0]).save(target)
    whole = target.read_bytes()

    @quick(50)
    @given(mutated(whole))
    def check(content):
        target.write_bytes(content)
        batch = predicted_from(target)
        try:
            assert load_data(str(small)).pixels.shape == (11, 8, 8, 3)
            assert len(batch.found) == 1
        except TP1Error as error:
            assert is_clear(error)
            # Flipped bytes may also have made it an image of another size, which prediction takes.
            assert "cannot read image" in str(error) or "differ in size" in str(error)
            assert len(batch.unreadable) == ("cannot read image" in str(error))

    check()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["pipe", "socket", "endless device", "loop", "nowhere"])
def test_what_is_no_file_is_refused_and_never_waited_for(store, small, tmp_path, kind, monkeypatch):
    monkeypatch.chdir(small / "b")  # a socket's path must be short
    make_special(Path("x.png"), kind)
    monkeypatch.chdir(tmp_path)
    result = invoke("eda", f"dataset={small}")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert f"cannot read {small}/b/x.png" in result.stderr
    assert [run.info.status for run in all_runs()] == ["FAILED"]
    with pytest.raises(Exception, match=r"it is no file|levels|No such file"):
        read_image(small / "b" / "x.png")
    if kind not in ("loop", "nowhere"):
        batch = predicted_from(small / "b" / "x.png", small / "a")
        assert len(batch.found) == 5
        assert [reason for _, reason in batch.unreadable] == ["it is no file"]


@pytest.mark.parametrize("kind", ["folder", "folder above"])
def test_a_folder_with_the_name_of_an_image_is_a_folder(small, kind):
    make_special(small / "b" / "x.png", kind)
    assert len(load_data(str(small)).pixels) == 10


def test_links_are_followed_to_images_alone(small, tmp_path):
    """An image may lie elsewhere, as where a data set is made of links; what is none is said without a word of it."""
    Image.new("RGB", (8, 8), "red").save(tmp_path / "elsewhere.png")
    (small / "a" / "x.png").symlink_to(tmp_path / "elsewhere.png")
    assert load_data(str(small)).pixels.shape == (11, 8, 8, 3)
    (tmp_path / "secret").write_text("the password is swordfish")
    (small / "a" / "y.png").symlink_to(tmp_path / "secret")
    with pytest.raises(TP1Error, match=r"cannot read image .*/a/y\.png") as error:
        load_data(str(small))
    assert "swordfish" not in str(error.value)
    (small / "a" / "y.png").unlink()
    (small / "c").symlink_to(small)  # a folder that holds itself
    with pytest.raises(TP1Error, match=r"class folder .*/c has no images"):
        load_data(str(small))


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A small file that declares any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + body


BOMBS = {
    "10,000 pixels": png(10_000, 10_000),
    "the most that PNG declares": png(2**31 - 1, 2**31 - 1),
    "a text": png(8, 8, (b"zTXt", b"x\0\0" + zlib.compress(b"\0" * 80_000_000))),
    "nothing": png(0, 0),
}


@pytest.mark.parametrize("kind", list(BOMBS))
def test_a_bomb_is_refused_before_it_is_decoded(small, kind, monkeypatch):
    decoded = []
    load = PngImagePlugin.PngImageFile.load_prepare
    monkeypatch.setattr(
        PngImagePlugin.PngImageFile, "load_prepare", lambda image: (decoded.append(image.size), load(image))
    )
    (small / "b" / "x.png").write_bytes(BOMBS[kind])
    with pytest.raises(TP1Error, match=r"cannot read image .*/b/x\.png: .*\. Mend or remove the file") as error:
        load_data(str(small))
    assert is_clear(error.value)
    assert set(decoded) <= {(8, 8)}
    ((_, reason),) = predicted_from(small / "b" / "x.png", small / "a").unreadable
    assert ("decompression bomb" in reason) == ("pixels" in kind or "most" in kind)


def test_a_long_image_is_resized(tmp_path):
    Image.new("1", (10_000, 500), 1).save(tmp_path / "long.png")
    batch = predicted_from(tmp_path / "long.png")
    assert batch.resized == 1
    assert batch.pixels.min() == 255


def test_few_images_wait_in_memory(small, monkeypatch):
    read = []
    monkeypatch.setattr(
        "tp1.data.image_folder.read_image", lambda path: (read.append(path), Image.new("RGB", (8, 8)))[1]
    )
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    for number in range(100):
        shutil.copy(small / "a" / "000.png", small / "a" / f"copy-{number}.png")
    source = ImageFolder("small", small)
    images = source.decode(source.list())
    next(images)
    assert len(read) <= 12
    images.close()


def test_a_name_does_not_make_a_program_run(small, monkeypatch):
    """Pillow would have Ghostscript run a file of PostScript, whatever its name is."""
    monkeypatch.setattr("subprocess.check_call", lambda *args, **kwargs: pytest.fail("a program was run"))
    (small / "b" / "x.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    )
    with pytest.raises(TP1Error, match=r"cannot read image .*/b/x\.png: not an image"):
        load_data(str(small))
    assert predicted_from(small / "b" / "x.png", small / "a").unreadable[0][1] == "not an image"


MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16", "I;16B")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF"])
def test_any_mode_of_any_format_is_rgb_or_refused(tmp_path, mode, kind):
    path = tmp_path / "x.png"
    try:
        Image.new(mode, (8, 8)).save(path, kind)
    except (OSError, ValueError, KeyError, SystemError):  # the format does not have it
        return
    try:
        image = read_image(path)
    except ValueError as error:
        assert "no fixed range of brightness" in str(error)
    else:
        assert (image.mode, image.size) == ("RGB", (8, 8))


@pytest.mark.parametrize("orientation", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 65535])
def test_any_orientation_is_set_upright_or_left(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (8, 4)).save(tmp_path / "x.jpg", exif=exif)
    assert read_image(tmp_path / "x.jpg").size == ((4, 8) if orientation in (5, 6, 7, 8) else (8, 4))


@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 7, 8])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK"])
def test_an_uncompressed_tiff_that_lies_on_its_side_is_the_same_picture_as_a_compressed_one(
    tmp_path, orientation, mode
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    values = np.random.default_rng(0).integers(0, 255, (8, 12, len(Image.new(mode, (1, 1)).getbands())), np.uint8)
    image = Image.fromarray(values.squeeze(), mode=mode) if mode == "CMYK" else Image.fromarray(values.squeeze())
    for compression in ("raw", "tiff_lzw"):
        image.save(tmp_path / f"{compression}.tiff", compression=compression, exif=exif)
    raw, packed = (np.asarray(read_image(tmp_path / f"{name}.tiff")) for name in ("raw", "tiff_lzw"))
    np.testing.assert_array_equal(raw, packed)


def test_a_grey_picture_of_16_bits_is_the_same_in_every_format(tmp_path):
    image = Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000)
    found = []
    for name in ("x.png", "x.tiff", "x.pgm"):
        image.save(tmp_path / name)
        found.append(np.asarray(read_image(tmp_path / name)))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    assert found[0].max() == round(63_000 / 257)


# Archives


@pytest.mark.parametrize("content", [b"", b"no archive", BOMBS["nothing"]])
def test_an_archive_with_another_checksum_is_not_opened(tmp_path, content, monkeypatch):
    """torchvision verifies an archive before it unpacks it; one that was put there is fetched anew."""
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    monkeypatch.setattr("tarfile.open", lambda *args, **kwargs: pytest.fail("it was opened"))
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(content)
    with pytest.raises(TP1Error, match="could not be downloaded"):
        Cifar10(tmp_path).files()


def test_batches_with_another_checksum_are_not_unpickled(tiny_cifar10, monkeypatch):
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    (tiny_cifar10 / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(Harmful(tiny_cifar10)))
    with pytest.raises(TP1Error, match="could not be downloaded"):
        Cifar10(tiny_cifar10).list()
    assert not (tiny_cifar10 / "harm").exists()
