"""Broken images are all named in one pass; with skip_broken=yes they are left out, and the run says so."""

import errno
import json
import re

import mlflow
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from tests.conftest import all_runs, invoke, write_folder
from tp1.base.errors import TP1Error
from tp1.data import image_folder as image_folder_module
from tp1.data.broken import broken_images
from tp1.data.cache_folder import cache_dir, clear
from tp1.data.dataset import load_data
from tp1.data.image_folder import ImageFolder


@pytest.fixture
def broken(image_folder):
    """60 images, of which 12 are broken."""
    for number in range(12):
        path = image_folder / "abc"[number % 3] / f"{number:03d}.png"
        data = path.read_bytes()
        path.write_bytes([data[: len(data) // 2], b"", b"hello"][number // 4])
    return image_folder


def test_all_are_named_in_one_pass(broken):
    with pytest.raises(TP1Error, match=r"cannot read 12 images in .*/shapes: ") as error:
        load_data(str(broken))
    message = str(error.value)
    assert "a/000.png, a/003.png, b/001.png, c/002.png (image file is truncated); " in message
    assert "a/006.png, a/009.png, b/004.png, b/007.png, b/010.png and 3 more (not an image). " in message
    assert message.endswith("or leave out what is broken: skip_broken=yes; `eda` lists them all.")


def test_those_that_are_left_out_might_as_well_not_be_there(broken, tmp_path):
    data = load_data(str(broken), skip_broken="yes")
    assert len(data.pixels) == 48
    assert len(data.reading.broken) == 12
    (note,) = data.reading.notes()
    assert note.startswith("Left out by skip_broken=yes: 12 images that cannot be read: a/000.png (")
    for name in data.reading.broken:
        (broken / name).unlink()
    cleaned = load_data(str(broken))
    assert (cleaned.digest, cleaned.split_digest) == (data.digest, data.split_digest)
    assert np.array_equal(cleaned.pixels, data.pixels)


def test_they_are_looked_for_once(broken, monkeypatch):
    first = load_data(str(broken), skip_broken="yes")
    monkeypatch.setattr(ImageFolder, "_read", lambda *args: pytest.fail("read again"))
    assert load_data(str(broken), skip_broken="yes").reading.broken == first.reading.broken


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"broken": {}, "check": ""}', b"\xff"])
def test_an_altered_answer_is_looked_for_again(broken, content):
    source = ImageFolder("shapes", broken)
    wanted = broken_images(source, cache_dir())
    (known,) = (cache_dir() / "broken").iterdir()
    known.write_bytes(content)
    assert broken_images(source, cache_dir()) == wanted


@pytest.mark.parametrize("fault", [MemoryError(), OSError(errno.EIO, "Input/output error")])
def test_what_passes_is_not_taken_for_a_broken_image(image_folder, monkeypatch, fault):
    source = ImageFolder("shapes", image_folder)
    real = image_folder_module.read_image

    def failing(path, *rest):
        if path.name == "003.png":
            raise fault
        return real(path, *rest)

    monkeypatch.setattr(image_folder_module, "read_image", failing)
    with pytest.raises(TP1Error, match=r"(not enough memory to|cannot) read .*003\.png"):
        broken_images(source, cache_dir())
    monkeypatch.setattr(image_folder_module, "read_image", real)
    assert broken_images(source, cache_dir()) == {}


def test_files_that_change_meanwhile_are_not_remembered(broken, monkeypatch):
    source, path = ImageFolder("shapes", broken), broken / "a" / "000.png"
    real, before = ImageFolder.broken, path.read_bytes()

    def changing(self):
        path.write_bytes((broken / "a" / "015.png").read_bytes())
        return real(self)

    monkeypatch.setattr(ImageFolder, "broken", changing)
    with pytest.raises(TP1Error, match=r"files of .*/shapes changed while they were read: start again"):
        broken_images(source, cache_dir())
    monkeypatch.setattr(ImageFolder, "broken", real)
    path.write_bytes(before)
    assert "a/000.png" in broken_images(source, cache_dir())


def test_another_pillow_looks_again_and_clearing_forgets(broken, monkeypatch):
    source = ImageFolder("shapes", broken)
    wanted = broken_images(source, cache_dir())
    monkeypatch.setattr(ImageFolder, "broken", lambda self: {})
    assert broken_images(source, cache_dir()) == wanted
    with monkeypatch.context() as other:
        other.setattr("PIL.__version__", "99")
        assert broken_images(source, cache_dir()) == {}
    clear(cache_dir())
    assert broken_images(source, cache_dir()) == {}


def test_a_class_that_is_broken_altogether_is_named(image_folder):
    for path in (image_folder / "b").iterdir():
        path.write_bytes(b"")
    with pytest.raises(TP1Error, match=r"no image of 'b' in .*/shapes can be read"):
        load_data(str(image_folder), skip_broken="yes")


def test_a_run_records_them(store, broken):
    train = ("cnn-base", f"dataset={broken}", "epochs=1", "batch_size=16")
    result = invoke(*train)
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    result = invoke(*train, "skip_broken=yes")
    assert result.exit_code == 0, result.stderr
    assert "Left out by skip_broken=yes: 12 images" in result.stdout
    run = all_runs()[0]
    assert run.data.params["skip_broken"] == "yes"
    config = json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/config.json"))
    assert len(config["data"]["broken"]) == 12
    assert invoke("promote", f"dataset={broken}", "skip_broken=yes").exit_code == 0


@pytest.mark.parametrize("bands", [13, 4])
def test_bands_that_nothing_here_reads_are_said_in_one_line(image_folder, bands, caplog, recwarn):
    # Odd EXIF data, cut within the first entry, are no fault of the image.
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01"
    Image.open(image_folder / "a" / "001.png").save(image_folder / "a" / "y.jpg", exif=exif)
    # A TIFF of 13 bands, as EuroSAT's GeoTIFFs are: its directory alone says so.
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in {256: 8, 257: 8, 258: (16,) * bands, 259: 1, 262: 1, 277: bands, 278: 8, 284: 1}.items():
        info[tag] = value
    info[273], info[279] = 1000, 8 * 8 * bands * 2
    with (image_folder / "a" / "x.tif").open("wb") as file:
        file.write(b"II" + (42).to_bytes(2, "little") + (8).to_bytes(4, "little"))
        file.write(info.tobytes(8))
        file.write(b"\0" * 3000)
    said = f"x.tif: a TIFF of {bands} bands of 16 bits, in a form that Pillow does not read: make it RGB of 8 bits"
    with pytest.raises(TP1Error, match=re.escape(said)):
        load_data(str(image_folder))
    assert caplog.records == []  # Pillow logs the bands, and warns of the EXIF data
    assert [str(warning.message) for warning in recwarn] == []


def test_a_folder_of_nothing_readable_is_one_line(tmp_path):
    write_folder(tmp_path / "set", per_class=4)
    for path in (tmp_path / "set").rglob("*.png"):
        path.write_bytes(b"x")
    with pytest.raises(TP1Error, match="cannot read 12 images"):
        load_data(str(tmp_path / "set"))
    with pytest.raises(TP1Error, match=r"no image of 'a', 'b', 'c' in"):
        load_data(str(tmp_path / "set"), skip_broken="yes")
