"""Decoding goes on after a kill: what is safely on disk is not decoded again, and nothing else is taken."""

import hashlib
import json
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tests.conftest import PROJECT, write_folder
from tp1.base.interrupts import Interrupted
from tp1.data import growing
from tp1.data.cache import load_images
from tp1.data.cache_folder import check_of, entries
from tp1.data.digits import Digits
from tp1.data.growing import GrowingFile
from tp1.data.image_folder import ImageFolder


class Stopping(ImageFolder):
    """A folder whose decoding raises after some images, and which counts."""

    stop_after = 10**9
    error: BaseException = Interrupted(signal.SIGTERM)
    decoded = 0

    def decode(self, listing):
        for number, image in enumerate(super().decode(listing)):
            if number == self.stop_after:
                raise self.error
            type(self).decoded += 1
            yield image


@pytest.fixture
def folder(image_folder, monkeypatch):
    monkeypatch.setattr(growing, "KEEP_SECONDS", 0.0)
    monkeypatch.setattr(Stopping, "decoded", 0)
    return Stopping("shapes", image_folder)


@pytest.fixture
def wanted(image_folder, tmp_path):
    return load_images(ImageFolder("shapes", image_folder), tmp_path / "other")


def stop(folder, cache, after):
    folder.stop_after = after
    with pytest.raises(type(folder.error)):
        load_images(folder, cache)
    folder.stop_after = 10**9


def test_it_goes_on_after_a_signal(folder, wanted, tmp_path, capsys):
    cache = tmp_path / "cache"
    stop(folder, cache, 25)
    (begun,) = entries(cache)
    assert begun.name.endswith(" (not complete)")
    images = load_images(folder, cache)
    assert np.array_equal(images.pixels, wanted.pixels)
    assert (images.entry / "meta.json").read_bytes() == (wanted.entry / "meta.json").read_bytes()
    assert sorted(path.name for path in images.entry.iterdir()) == ["meta.json", "pixels.bin"]
    assert folder.decoded == 60
    assert "Decoding goes on after 25 of 60 images of shapes." in capsys.readouterr().out


class StoppedDigest:
    """A SHA-256 in whose update a signal arrives, once ``rows`` have gone through it."""

    def __init__(self, rows, digest=None):
        self.rows, self.digest = rows, digest or hashlib.sha256()

    def update(self, block):
        self.digest.update(block)
        self.rows[0] -= 1
        if self.rows[0] == 0:
            raise Interrupted(signal.SIGTERM)

    def copy(self):
        return StoppedDigest(self.rows, self.digest.copy())

    def hexdigest(self):
        return self.digest.hexdigest()


class StoppedFile:
    """An open file in whose write a signal arrives after some rows, with the block written."""

    def __init__(self, file, rows):
        self.file, self.rows = file, rows

    def write(self, block):
        self.file.write(block)
        self.rows -= 1
        if self.rows == 0:
            raise Interrupted(signal.SIGTERM)

    def __getattr__(self, name):
        return getattr(self.file, name)


def stop_within(where, monkeypatch):
    """Let a signal arrive while the 25th row is written or hashed: a mock, as no real one can be timed so."""
    begin = GrowingFile.__init__

    def begun(self, *args):
        begin(self, *args)
        if where == "write":
            self._file = StoppedFile(self._file, 25)
        else:
            self._counted = replace(self._counted, digest=StoppedDigest([25]))

    monkeypatch.setattr(GrowingFile, "__init__", begun)


@pytest.mark.parametrize("where", ["write", "update"])
def test_a_signal_within_a_row_doubles_no_image(folder, wanted, tmp_path, monkeypatch, where):
    monkeypatch.setattr(growing, "KEEP_SECONDS", 5.0)
    with monkeypatch.context() as within:
        stop_within(where, within)
        with pytest.raises(Interrupted):
            load_images(folder, tmp_path / "cache")
    assert folder.decoded == 25
    images = load_images(folder, tmp_path / "cache")
    assert folder.decoded == 25 + 60 - 24
    assert np.array_equal(images.pixels, wanted.pixels)
    assert (images.entry / "pixels.bin").read_bytes() == (wanted.entry / "pixels.bin").read_bytes()


@pytest.mark.parametrize("fault", ["altered", "short", "long", "other key", "no state", "other rows"])
def test_what_is_damaged_is_decoded_again(folder, wanted, tmp_path, fault):
    cache = tmp_path / "cache"
    stop(folder, cache, 25)
    (partial,) = cache.glob(".*.partial")
    pixels, state = partial / "pixels.bin", partial / "pixels.bin.begun"
    if fault == "altered":
        pixels.write_bytes(b"\1" + pixels.read_bytes()[1:])
    elif fault == "short":
        pixels.write_bytes(pixels.read_bytes()[:-1])
    elif fault == "long":  # a kill between the writing and the counting
        pixels.write_bytes(pixels.read_bytes() + b"\1" * 99)
    elif fault == "no state":
        state.unlink()
    else:
        facts = json.loads(state.read_text(encoding="utf-8"))
        changed = {"key": "x"} if fault == "other key" else {"rows": facts["rows"] - 1}
        state.write_text(json.dumps(facts | changed), encoding="utf-8")
    assert np.array_equal(load_images(folder, cache).pixels, wanted.pixels)
    assert folder.decoded == (60 if fault == "long" else 85)


def test_an_entry_with_more_pixels_than_images_is_decoded_again(folder, wanted, tmp_path):
    """Its checksums are right: earlier versions could make one."""
    entry = load_images(folder, tmp_path / "cache").entry
    pixels, meta = entry / "pixels.bin", json.loads((entry / "meta.json").read_text(encoding="utf-8"))
    pixels.write_bytes(pixels.read_bytes()[: 32 * 32 * 3] + pixels.read_bytes())
    meta["pixels_sha256"] = hashlib.sha256(pixels.read_bytes()).hexdigest()
    del meta["check"]
    check = check_of(json.dumps(meta, sort_keys=True))
    (entry / "meta.json").write_text(json.dumps(meta | {"check": check}), encoding="utf-8")
    assert np.array_equal(load_images(folder, tmp_path / "cache").pixels, wanted.pixels)


def test_an_error_leaves_nothing(folder, tmp_path):
    folder.error = OSError(28, "No space left on device")
    folder.stop_after = 25
    with pytest.raises(Exception, match="No space left"):
        load_images(folder, tmp_path / "cache")
    assert entries(tmp_path / "cache") == []


def test_digits_can_be_decoded_from_any_image_on():
    source = Digits()
    listing = source.list()
    whole = np.stack([*source.decode(listing)])
    assert np.array_equal(np.stack([*source.decode(listing.after(1700))]), whole[1700:])


def test_rows_that_are_all_there_are_not_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(growing, "KEEP_SECONDS", 0.0)
    with GrowingFile(tmp_path / "x.bin", "key", np.dtype(np.uint8)) as file:
        file.append(np.arange(6, dtype=np.uint8).reshape(3, 2))
    with GrowingFile(tmp_path / "x.bin", "key", np.dtype(np.uint8)) as file:
        assert (file.rows, file.row_shape) == (3, (2,))
        digest = file.finish()
    with GrowingFile(tmp_path / "y.bin", "key", np.dtype(np.uint8)) as file:
        file.append(np.arange(6, dtype=np.uint8).reshape(3, 2))
        assert file.finish() == digest


@pytest.mark.long
def test_a_kill_in_the_middle_costs_what_is_not_yet_kept(tmp_path):
    root = write_folder(tmp_path / "shapes")
    code = (
        "import os, sys; from pathlib import Path; from tp1.data import cache, growing\n"
        "from tp1.data.image_folder import ImageFolder\n"
        "growing.KEEP_SECONDS = 0.0\n"
        "class Killed(ImageFolder):\n"
        "    def decode(self, listing):\n"
        "        for number, image in enumerate(super().decode(listing)):\n"
        "            if number == 40: os.kill(os.getpid(), 9)\n"
        "            yield image\n"
        f"cache.load_images(Killed('shapes', Path({str(root)!r})), Path({str(tmp_path / 'cache')!r}))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == -9
    Stopping.decoded = 0
    images = load_images(Stopping("shapes", root), tmp_path / "cache")
    assert Stopping.decoded == 20
    wanted = load_images(ImageFolder("shapes", root), tmp_path / "other")
    assert np.array_equal(images.pixels, wanted.pixels)
