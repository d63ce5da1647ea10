"""Folders and files that are written completely or not at all."""

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tp1.base.errors import TP1Error, why
from tp1.base.names import is_file, is_folder

FULL = (errno.ENOSPC, errno.EDQUOT)
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def whole_folder(target: Path, *, going_on: bool = False) -> Iterator[Path]:
    """Yield a new folder beside ``target`` to fill; when the block ends, it is renamed and replaces ``target``.

    If the block raises, the new folder is removed. If the process is killed, ``.<name>.partial`` remains, and the
    next attempt removes it.

    Args:
        going_on: The next attempt gets what remained, and a signal leaves it too.
    """
    partial = target.with_name(f".{target.name}.partial")
    if not going_on:
        shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, exist_ok=going_on)
    try:
        yield partial
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    except BaseException as error:
        if not going_on or not isinstance(error, KeyboardInterrupt):
            shutil.rmtree(partial, ignore_errors=True)
        raise


def write_synced(path: Path, text: str) -> None:
    """Write a file and sync its content to disk: after a power cut it is complete if its folder is there."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def unwritable(what: str, error: OSError, variable: str) -> TP1Error:
    """Return the error to raise if one of this program's own folders cannot be written.

    Args:
        what: Description of the folder, such as ``the cache in /var/cache/tp1``.
        variable: The environment variable that names another folder.
    """
    remedy = ""
    if error.errno in FULL:
        remedy = "free some space there, or "
    elif error.errno in READ_ONLY:
        remedy = "make it writable for you, or "
    return TP1Error(
        f"cannot write to {what} ({error.strerror or why(error)}): {remedy}name another folder with the environment "
        f"variable {variable}."
    )


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder; other processes may remove some meanwhile."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            size += path.stat().st_size if path.is_file() else 0
    return size


def check_writable(folder: Path) -> None:
    """Make sure, before any work, that :func:`write_files` could begin.

    Raises:
        TP1Error: The folder, or the one that it would be made in, cannot be written.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if is_folder(path) or is_file(path))
    code = errno.ENOTDIR if not there.is_dir() else 0 if os.access(there, os.W_OK | os.X_OK) else errno.EACCES
    if code:
        raise TP1Error(f"cannot write to {folder}: {os.strerror(code)}. Choose another with to=.")


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder, each completely or not at all; names may contain subfolders.

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


def check_readable(folder: Path, variable: str) -> None:
    """Make sure that what is in one of this program's own folders can be known; one that is not there has nothing.

    Args:
        variable: The environment variable that names another folder.

    Raises:
        TP1Error: It cannot be read, such as in another user's home.
    """
    try:
        os.scandir(folder).close()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise TP1Error(
            f"cannot read {folder} ({error.strerror}): make it readable for you, or name another folder with the "
            f"environment variable {variable}."
        ) from error
