"""The folder of the caches: where it is, what lies in it, clearing it, and what is said when it cannot be used."""

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from tp1.base.errors import TP1Error, why
from tp1.base.folders import folder_size, unwritable
from tp1.base.names import printable, user_path

BROKEN = "broken"  # the folder of what is known about images that cannot be read
NO_JSON = (ValueError, KeyError, TypeError, AttributeError, RecursionError)  # raised for invalid or unexpected JSON
OWN_NAME = re.compile(r"(?!\.)[^/]+-[0-9a-f]{16}(-\d+px)?")


def cache_dir() -> Path:
    """Return the folder of the caches: ``$TP1_CACHE_DIR``, else the user cache directory."""
    return user_path(os.environ.get("TP1_CACHE_DIR") or user_cache_path("tp1"))


@dataclass(frozen=True)
class CacheEntry:
    """One entry of the cache, ``size`` bytes large: decoded images, or the features of a frozen network.

    ``path`` may be that of one that was begun and not finished.
    """

    path: Path
    size: int

    @property
    def name(self) -> str:
        """The name of the entry, which describes its content."""
        name = _entry_name(self.path)
        return printable(name if name == self.path.name else f"{name} (not complete)")


def entries(folder: Path) -> list[CacheEntry]:
    """Return the entries in ``folder``, sorted by name, with their sizes in bytes; also those that are not complete."""
    found = sorted(path for path in folder.glob("*") if OWN_NAME.fullmatch(_entry_name(path)) and path.is_dir())
    return [CacheEntry(path, folder_size(path)) for path in found]


def _entry_name(path: Path) -> str:
    """The name of an entry by its folder, or by the one in which it is being made."""
    return path.name.removeprefix(".").removesuffix(".partial")


def clear(folder: Path) -> tuple[int, list[str]]:
    """Remove all entries, also incomplete ones that a killed process left, unless a process is using them.

    Anything whose name is not that of an entry is left alone: the folder may hold other files of the user.

    Returns:
        The bytes freed, and the names of entries that were not removed because they are in use.
    """
    freed, busy = 0, []
    names = {_entry_name(path) for path in folder.glob("*") if path.is_dir()}
    for name in sorted(name for name in names if OWN_NAME.fullmatch(name)):
        try:
            with FileLock(folder / f".{name}.lock", timeout=0):
                for path in (folder / name, folder / f".{name}.partial"):
                    if path.is_dir():
                        freed += sum(file.stat().st_size for file in path.iterdir())
                        shutil.rmtree(path)
        except Timeout:
            busy.append(printable(name))
    for path in (folder / BROKEN).glob("*.json"):
        freed += path.stat().st_size
        path.unlink()
    return freed, busy


def entry_title(name: str) -> str:
    """Return a data set's name as the start of an entry's name, cut so that file systems accept the whole."""
    return re.sub(r"[^\w.-]", "_", name).lstrip(".")[:40] or "_"


def check_of(*texts: str) -> str:
    """Return a checksum of the texts: 16 hex digits."""
    return hashlib.sha256("\0".join(texts).encode(errors="surrogateescape")).hexdigest()[:16]


def cache_unwritable(folder: Path, error: OSError) -> TP1Error:
    """Return the error for a cache that cannot be written."""
    return unwritable(f"the cache in {folder}", error, "TP1_CACHE_DIR")


def cache_unreadable(entry: Path, error: OSError) -> TP1Error:
    """Return the error for an entry that is there and cannot be read."""
    return TP1Error(
        f"cannot read {entry} in the cache ({error.strerror or why(error)}): make it readable for you, remove it, or "
        "name another folder with the environment variable TP1_CACHE_DIR."
    )


def check_space(needed: int, folder: Path, what: str) -> None:
    """Raise TP1Error if ``folder``'s disk has less than ``needed`` bytes free for ``what``."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise TP1Error(
            f"no disk space for {what}: {needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free in {folder}. "
            "Free some, or name another folder with the environment variable TP1_CACHE_DIR."
        )
