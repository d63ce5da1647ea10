"""Folders and files that are there whole or not at all."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tp1.base.errors import TP1Error


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A new folder beside ``target`` to fill, renamed to it (in place of what was there) when the block ends.

    If the block raises, nothing is left of it; if the process is killed, ``.<name>.partial`` is, and the next
    attempt removes that.
    """
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def write_synced(path: Path, text: str) -> None:
    """Write a file so that it is there after a power cut too, once the folder that holds it is."""
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder; others may be removing some meanwhile."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            size += path.stat().st_size if path.is_file() else 0
    return size


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder, each whole or not at all; names may lead into folders below it.

    Raises:
        TP1Error: The folder cannot be written.
    """
    try:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.partial")
            partial.write_bytes(content)
            partial.replace(path)
    except OSError as error:
        raise TP1Error(
            f"cannot write to {error.filename or folder}: {error.strerror}. Choose another with to=."
        ) from error
