"""What is said where a folder cannot be written."""

import errno
import os

import pytest

from tp1.base.folders import unwritable


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "free some space there, or name"),
        (errno.EDQUOT, "free some space there, or name"),
        (errno.EACCES, "make it writable for you, or name"),
        (errno.EROFS, "make it writable for you, or name"),
    ],
)
def test_the_remedy_fits_the_fault(code, remedy):
    said = str(unwritable("the cache in /x", OSError(code, os.strerror(code)), "TP1_CACHE_DIR"))
    assert said.startswith(f"cannot write to the cache in /x ({os.strerror(code)}): {remedy}")
    assert said.endswith("another folder with the environment variable TP1_CACHE_DIR.")
