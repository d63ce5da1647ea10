"""The identity of image files: a digest of their names and bytes, remembered for as long as no file changes."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from tp1.base.errors import TP1Error
from tp1.base.folders import FULL, READ_ONLY
from tp1.base.progress import progress
from tp1.data.cache_folder import cache_unwritable, check_of


@dataclass(frozen=True)
class FilesState:
    """What files were when they were read.

    Attributes:
        digest: SHA-256 over their names and bytes, first 16 hex digits.
        stamp: A checksum of their paths, names, sizes and times from before their bytes were read.
    """

    digest: str
    stamp: str

    def check_unchanged(self, files: Mapping[str, Path], origin: str) -> None:
        """Raise TP1Error if any of the files was changed since.

        Args:
            origin: Where they come from, for the message.
        """
        if _stamp(files) != self.stamp:
            raise TP1Error(f"files of {origin} changed while they were read: start again when nothing writes there.")


def files_state(files: Mapping[str, Path], folder: Path) -> FilesState:
    """Return the state of files; the digest is cached by their paths, sizes and times.

    Args:
        folder: The folder of the caches.

    Raises:
        TP1Error: There are no files, one cannot be read, or the cache cannot be written (unless it is full or only for
            reading: then nothing is remembered).
    """
    if not files:  # the digest of nothing never changes
        raise TP1Error("the source names no file that its images are made of, so that a change could not be seen.")
    stamp = _stamp(files)
    known = folder / "digests" / stamp
    if (digest := _known_digest(known)) is not None:
        return FilesState(digest, stamp)
    content = hashlib.sha256()
    for name, path in progress(files.items(), "Hashing files", unit="file"):
        try:
            with path.open("rb") as file:  # in pieces: a file may be larger than memory
                content.update(f"{name}\0{os.fstat(file.fileno()).st_size}\0".encode(errors="surrogateescape"))
                while data := file.read(1 << 20):
                    content.update(data)
        except OSError as error:
            raise TP1Error(f"cannot read {path}: {error.strerror}.") from error
    digest = content.hexdigest()[:16]
    try:
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text(f"{digest} {check_of(known.name, digest)}", encoding="utf-8")
    except OSError as error:
        if error.errno not in (*READ_ONLY, *FULL):
            raise cache_unwritable(folder, error) from error
        # What is whole can still be read; the files are hashed again the next time.
    return FilesState(digest, stamp)


def _known_digest(known: Path) -> str | None:
    """Return the digest stored in the file ``known``, or None if the file is missing or altered."""
    try:
        digest, check = known.read_text(encoding="utf-8").split(" ")
    except (OSError, ValueError):
        return None
    return digest if check == check_of(known.name, digest) else None


def _stamp(files: Mapping[str, Path]) -> str:
    """Return a checksum of the files' paths, names, sizes and times, which changes with any of the files."""
    stats = hashlib.sha256()
    for name, path in files.items():
        try:
            stat = path.stat()
        except OSError as error:
            raise TP1Error(f"cannot read {path}: {error.strerror}.") from error
        if not S_ISREG(stat.st_mode):  # reading a pipe or a device might never end
            raise TP1Error(f"cannot read {path}: it is no file. Remove it.")
        # The change time (ctime) cannot be set by hand, so it reveals an edit that restores size and mtime.
        stats.update(
            f"{path}\0{name}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}\n".encode(errors="surrogateescape")
        )
    return stats.hexdigest()[:32]
