"""A cache that somebody has changed gives the same images, or is made anew."""

# ruff: noqa: PT017 - a damaged entry may also be made anew, so an error is looked at where there is one

import json
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.support.generated_cases import quick
from tests.support.hostile_files import GARBAGE, is_clear, mutated
from tp1.base.errors import TP1Error
from tp1.data.cache import load_images
from tp1.data.cache_folder import entries
from tp1.data.image_folder import ImageFolder


def tampered_meta(meta: dict) -> st.SearchStrategy[bytes]:
    """The entry's record with one thing in it changed to something that could pass for one."""
    count, height, width, channels = meta["shape"]
    changes = [
        {"shape": [count, 1, height * width, channels]},
        {"shape": [1, count * height, width, channels]},
        {"shape": [count * 2, height // 2, width, channels]},
        {"shape": [-1, height, width, channels]},
        {"labels": meta["labels"][::-1]},
        {"labels": [99] * count},
        {"labels": meta["labels"][1:]},
        {"names": meta["names"][::-1]},
        {"names": "a" * count},
        {"classes": meta["classes"][::-1]},
        {"is_test": [True] * count},
        {"is_test": "yes"},
        {"pixels_sha256": "0" * 64},
        {"format": "2"},
        {"check": None},
    ]
    return st.sampled_from(changes).map(lambda change: json.dumps(meta | change).encode())


def test_a_cache_that_was_tampered_with_is_made_anew(small, tmp_path):
    source, cache = ImageFolder("small", small), tmp_path / "cache"
    wanted = load_images(source, cache)
    pixels = np.array(wanted.pixels)
    (entry,) = (one.path for one in entries(cache))
    (known,) = (cache / "digests").iterdir()
    files = {path: path.read_bytes() for path in (entry / "meta.json", entry / "pixels.bin", known)}
    meta = json.loads(files[entry / "meta.json"])

    paths = st.sampled_from([b"0" * 16, b"../../../../x/yz", b"../" * 20])  # where a digest stands
    own = {entry / "meta.json": tampered_meta(meta), known: paths}

    def change(path: Path) -> st.SearchStrategy[tuple[Path, bytes | None]]:
        return st.tuples(st.just(path), st.one_of(st.none(), mutated(files[path]), own.get(path, GARBAGE)))

    @quick(80)
    @given(st.sampled_from(list(files)).flatmap(change))
    def check(changed):
        path, content = changed
        path.unlink()
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)
        try:
            found = load_images(source, cache)
        except TP1Error as error:  # a folder in the place of a small file
            assert content is None
            assert is_clear(error)
            path.rmdir()
            found = load_images(source, cache)
        assert found.digest == wanted.digest
        assert np.array_equal(found.pixels, pixels)
        assert found.listing.names == wanted.listing.names
        assert found.listing.labels.tolist() == wanted.listing.labels.tolist()
        assert {path: path.read_bytes() for path in files} == files
        assert [one.path for one in entries(cache)] == [entry]

    check()
    assert {path.name for path in tmp_path.iterdir()} == {"small", "cache"}
