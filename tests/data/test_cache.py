"""The cache of decoded images: made once, checked by content, made anew where damaged, and cleared."""

import os
import resource
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from tests.conftest import PROJECT, write_folder
from tp1.base.errors import TP1Error
from tp1.data.cache import MixedSizesError, load_images
from tp1.data.cache_folder import clear, entries
from tp1.data.dataset import load_data
from tp1.data.image_folder import ImageFolder


class Counted(ImageFolder):
    """An image folder that counts how often it is decoded."""

    decoded = 0

    def decode(self, listing):
        self.decoded += 1
        return super().decode(listing)


@pytest.fixture
def source(image_folder):
    return Counted("shapes", image_folder)


def test_images_are_decoded_once(source, tmp_path):
    first = load_images(source, tmp_path / "cache")
    second = load_images(source, tmp_path / "cache")
    assert source.decoded == 1
    assert isinstance(second.pixels, np.memmap)
    assert second.pixels.shape == (60, 32, 32, 3)
    assert np.array_equal(first.pixels, second.pixels)
    assert np.array_equal(second.pixels[0], np.asarray(Image.open(source.root / "a" / "000.png")))
    assert second.listing.names == source.list().names


def test_files_that_change_while_they_are_decoded_are_not_kept_under_the_old_digest(source, tmp_path, monkeypatch):
    path = source.root / "b" / "000.png"
    before = path.read_bytes()
    decode = source.decode

    def changing(listing):
        path.write_bytes((source.root / "c" / "000.png").read_bytes())
        return decode(listing)

    monkeypatch.setattr(source, "decode", changing)
    with pytest.raises(TP1Error, match=r"files of .*/shapes changed while they were read: start again"):
        load_images(source, tmp_path / "cache")
    monkeypatch.setattr(source, "decode", decode)
    path.write_bytes(before)
    images = load_images(source, tmp_path / "cache")
    row = list(images.listing.names).index("b/000.png")
    assert np.array_equal(images.pixels[row], np.asarray(Image.open(path)))


@pytest.mark.parametrize("fault", ["truncated", "altered", "meta truncated", "pixels missing"])
def test_a_damaged_entry_is_decoded_again(source, tmp_path, fault):
    wanted = np.array(load_images(source, tmp_path / "cache").pixels)
    (entry,) = (tmp_path / "cache").glob("shapes-*")
    pixels, meta = entry / "pixels.bin", entry / "meta.json"
    if fault == "truncated":
        os.truncate(pixels, 1000)
    elif fault == "altered":
        data = bytearray(pixels.read_bytes())
        data[5000] ^= 1
        pixels.write_bytes(data)
    elif fault == "meta truncated":
        os.truncate(meta, meta.stat().st_size // 2)
    else:
        pixels.unlink()
    assert np.array_equal(load_images(source, tmp_path / "cache").pixels, wanted)
    assert source.decoded == 2


def test_a_changed_file_is_seen_even_if_size_and_time_stay(source, tmp_path):
    before = load_images(source, tmp_path / "cache")
    path = source.root / "a" / "000.png"
    stat, other = path.stat(), source.root / "b" / "000.png"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    assert load_images(source, tmp_path / "cache").digest != before.digest
    assert other.exists()


def test_the_key_is_the_content_not_the_place(source, tmp_path):
    before = load_images(source, tmp_path / "cache")
    moved = source.root.rename(tmp_path / "moved")
    there = Counted("shapes", moved)
    assert load_images(there, tmp_path / "cache").digest == before.digest
    assert there.decoded == 0


def test_processes_that_build_at_once_get_the_same(image_folder, tmp_path):
    code = (
        "import sys; from pathlib import Path; from tp1.data.cache import load_images\n"
        "from tp1.data.image_folder import ImageFolder\n"
        f"images = load_images(ImageFolder('shapes', Path({str(image_folder)!r})), Path({str(tmp_path / 'c')!r}));"
        "print(images.digest, int(images.pixels.sum()))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    answers = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(answers) == 1
    assert not list((tmp_path / "c").glob(".*.partial"))


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(source, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # the images need 184,320 bytes
    try:
        with pytest.raises(TP1Error, match=r"cannot write to the cache in .*TP1_CACHE_DIR"):
            load_images(source, tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "cache").glob("*shapes*/pixels.bin"))
    assert len(load_images(source, tmp_path / "cache").pixels) == 60


def test_too_little_space_is_said_before_it_is_used(source, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(TP1Error, match=r"no disk space.*0 MB needed, 0 MB free"):
        load_images(source, tmp_path / "cache")


def test_a_folder_that_cannot_be_written_is_named(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TP1Error, match="cannot write to the cache"):
        load_images(source, tmp_path / "file")


def test_images_of_different_sizes_need_an_image_size(tmp_path):
    root = write_folder(tmp_path / "mixed", per_class=5, side=20)
    Image.new("RGB", (40, 30)).save(root / "c" / "000.png")
    with pytest.raises(MixedSizesError, match=r"a/000.png has 20x20 pixels, c/000.png has 40x30.*image_size="):
        load_data(str(root))
    data = load_data(str(root), image_size=24)
    assert data.image_shape == (24, 24, 3)


def test_clearing_takes_our_entries_and_nothing_else(source, tmp_path):
    cache = tmp_path / "cache"
    load_images(source, cache)
    for other in ("photos/meta.json", "digests-of-mine/a", ".other.lock", "x.txt"):
        (cache / other).parent.mkdir(exist_ok=True)
        (cache / other).write_text("mine")
    (entry,) = entries(cache)
    (cache / f".{entry.name}.partial").mkdir()
    (cache / f".{entry.name}.partial" / "pixels.bin").write_bytes(b"0" * 100)
    freed, busy = clear(cache)
    assert (freed, busy) == (entry.size + 100, [])
    assert entries(cache) == []
    assert not list(cache.glob("*.partial"))
    assert {path.name for path in cache.iterdir()} >= {"photos", "digests-of-mine", ".other.lock", "x.txt"}


def test_clearing_leaves_what_a_process_is_building(source, tmp_path):
    cache = tmp_path / "cache"
    load_images(source, cache)
    (entry,) = entries(cache)
    with FileLock(cache / f".{entry.name}.lock"):
        assert clear(cache) == (0, [entry.name])
    assert entries(cache) == [entry]


def test_an_unreadable_image_folder_is_not_blamed_on_the_cache(source, tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))  # tests may run as root, whom nothing refuses

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(TP1Error, match=r"cannot read the folder .*: Permission denied"):
        load_images(source, tmp_path / "cache")


def test_a_warm_cache_is_quick(source, tmp_path):
    load_images(source, tmp_path / "cache")
    start = time.perf_counter()
    load_images(source, tmp_path / "cache")
    assert time.perf_counter() - start < 0.5
