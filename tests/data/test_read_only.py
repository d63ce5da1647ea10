"""What is whole is read from a medium that cannot be written; what would have to be written says so."""

import errno
import os

import numpy as np
import pytest
from filelock import FileLock

from tests.conftest import write_folder
from tests.support.made_training import trunk
from tests.support.read_only import bound_by_permissions, read_only
from tp1.base.errors import TP1Error
from tp1.data.cache import load_images
from tp1.data.dataset import load_data
from tp1.data.image_folder import ImageFolder
from tp1.training.features import FeatureEntry

UNWRITABLE = r"cannot write to the cache in .*cache \(Permission denied\): make it writable for you, or name another"


def test_whole_images_are_read(image_folder, tmp_path):
    source, cache = ImageFolder("shapes", image_folder), tmp_path / "cache"
    before = np.array(load_images(source, cache).pixels)
    for path in (*cache.glob(".*.lock"), *cache.glob("digests/*")):
        path.unlink()
    (cache / "digests").rmdir()
    with read_only(cache):
        assert np.array_equal(load_images(source, cache).pixels, before)
    assert not list(cache.glob(".*.lock"))


def test_images_that_are_not_there_or_damaged_are_not_made(image_folder, tmp_path):
    cache = tmp_path / "cache"
    load_images(ImageFolder("shapes", image_folder), cache)
    others = ImageFolder("others", write_folder(tmp_path / "others", per_class=2))
    with read_only(cache), pytest.raises(TP1Error, match=UNWRITABLE):
        load_images(others, cache)
    (pixels,) = cache.glob("shapes-*/pixels.bin")
    pixels.write_bytes(b"x")
    with read_only(cache), pytest.raises(TP1Error, match=UNWRITABLE):
        load_images(ImageFolder("shapes", image_folder), cache)


def test_an_entry_that_cannot_be_read_is_not_called_unwritable(image_folder, tmp_path):
    cache = tmp_path / "cache"
    load_images(ImageFolder("shapes", image_folder), cache)
    (pixels,) = cache.glob("shapes-*/pixels.bin")
    pixels.chmod(0)
    with (
        bound_by_permissions(),
        pytest.raises(TP1Error, match=r"cannot read .*shapes-\w+ in the cache \(Permission"),
    ):
        load_images(ImageFolder("shapes", image_folder), cache)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, r"\(No space left on device\): free some space there, or name another"),
        (errno.EROFS, r"\(Read-only file system\): make it writable for you, or name another"),
        (errno.EIO, r"\(Input/output error\): name another"),
    ],
)
def test_a_lock_that_fails_is_told_as_what_it_is(image_folder, tmp_path, monkeypatch, number, remedy):
    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(FileLock, "acquire", fail)
    with pytest.raises(TP1Error, match=remedy):
        load_images(ImageFolder("shapes", image_folder), tmp_path / "cache")


def test_whole_features_are_read(image_folder, tmp_path):
    data, cache = load_data(str(image_folder)), tmp_path / "cache"
    entry = FeatureEntry(trunk(), "digest", data, cache)
    with read_only(cache), pytest.raises(TP1Error, match=UNWRITABLE):
        entry.ensure()
    entry.ensure()
    for path in cache.glob(".*.lock"):
        path.unlink()
    with read_only(cache):
        entry.ensure()
        assert len(entry.read(slice(0, 3))) == 3
    assert not list(cache.glob(".*.lock"))
