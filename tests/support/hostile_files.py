"""Content and names of files, and things in the place of files, as nobody should make them."""

import json
import os
import socket
from pathlib import Path

from hypothesis import strategies as st

from tp1.base.errors import TP1Error

GARBAGE = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ).map(lambda value: json.dumps(value).encode()),
    st.sampled_from(
        [b"", b"\0" * 1000, b"[" * 100_000, b"{" * 10, b'{"format": 2}', b"9" * 5000, b"\xff\xfe", b"null"]
    ),
)

LETTERS = st.characters(exclude_characters="/\0", exclude_categories=("Cs",))
FILE_NAMES = st.one_of(
    st.text(LETTERS, min_size=1, max_size=20),
    st.text("\n\r\t\x1b[31m\x9b\u2028\u202e<>&'\"|`*_$ \\", min_size=1, max_size=20),
    st.binary(min_size=1, max_size=20).map(
        lambda name: os.fsdecode(name.replace(b"/", b"").replace(b"\0", b"") or b"x")
    ),
    st.just("n" * 250),
)


def is_clear(error: TP1Error) -> bool:
    return str(error).isprintable() and str(error) != ""


def mutated(whole: bytes) -> st.SearchStrategy[bytes]:
    """A file cut short, with other bytes in it, or with another's behind it."""
    places = st.integers(0, len(whole) - 1)
    flips = st.lists(st.tuples(places, st.integers(1, 255)), min_size=1, max_size=8)

    def flip(changes: list[tuple[int, int]]) -> bytes:
        content = bytearray(whole)
        for place, value in changes:
            content[place] ^= value
        return bytes(content)

    return st.one_of(
        places.map(lambda place: whole[:place]), flips.map(flip), GARBAGE, GARBAGE.map(lambda rest: whole[:40] + rest)
    )


def make_special(path: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    else:
        path.symlink_to(
            {"endless device": "/dev/zero", "loop": path.name, "nowhere": "gone", "folder above": ".."}[kind]
        )


class Harmful:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder / "harm"),)
