"""Cache of decoded images: one memory-mapped uint8 array per data set, keyed by the content of its files."""

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from platformdirs import user_cache_path

from tp1.base.errors import TP1Error, why
from tp1.base.folders import FULL, READ_ONLY, folder_size, unwritable, whole_folder
from tp1.base.names import printable, user_path
from tp1.base.progress import progress, say
from tp1.data.class_names import check_class_names
from tp1.data.decoding import LARGE
from tp1.data.growing import GrowingFile
from tp1.data.source import Listing, Resizable, Source, check_listing
from tp1.data.splits import check_classes

FORMAT = 2  # stored in every entry: increase it when decoding or rounding changes
RESIZED_FORMAT = 4  # that of entries whose images were resized: increase it when resizing changes
LARGEST = 1024  # pixels per side: images that are larger need an image_size=
BROKEN = "broken"  # the folder of what is known about images that cannot be read
PIXELS = "pixels.bin"  # in an entry: the images, one after the other
NO_JSON = (ValueError, KeyError, TypeError, AttributeError, RecursionError)  # raised for invalid or unexpected JSON
OWN_NAME = re.compile(r"(?!\.)[^/]+-[0-9a-f]{16}(-\d+px)?")


@dataclass(frozen=True)
class Images:
    """A decoded data set: N images in the order of their names.

    Attributes:
        origin: Path or URL that says where the images come from.
        pixels: Read-only memory map, uint8 RGB (N, H, W, 3).
        digest: SHA-256 over the names and contents of the image files, first 16 hex digits.
        entry: The folder of the cache entry.
        resize: Pixels per side to which the images were resized; None: they have their own size.
    """

    name: str
    origin: str
    listing: Listing
    pixels: NDArray[np.uint8]
    digest: str
    entry: Path
    resize: int | None = None


class MixedSizesError(TP1Error):
    """The images differ in size, and the source was not told to resize them."""


class LargeImagesError(TP1Error):
    """The images are larger than what the network sees, and the source was not told to resize them."""


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


def load_images(source: Source, folder: Path, image_size: int | None = None) -> Images:
    """Load the source's images; they are decoded on first use and cached in ``folder``.

    Several processes may call this at once: one decodes, the others wait. A truncated or altered entry is decoded
    again. Changed files have another key. Whole entries are read from a folder that cannot be written, too.

    Args:
        image_size: Pixels per side that the network sees. Images that differ in size are resized to it; so are large
            ones (:data:`LARGE`), which nothing needs in full. Other images keep their size, whatever this is.

    Raises:
        MixedSizesError: The images differ in size, and no ``image_size`` is given.
        LargeImagesError: They are larger than :data:`LARGEST`, and no ``image_size`` is given.
        TP1Error: The images cannot be read, or the cache cannot be written.
    """
    digest, stamp = _digest_and_stamp(source.files(), folder)
    if image_size is None or not isinstance(source, Resizable):
        return _load(source, folder, digest, stamp)
    small = source.resized(image_size)
    # The entry is there only if these images were once found to need resizing.
    if (images := _read(small, _entry(small, folder, digest), digest)) is not None:
        return images
    try:
        return _load(source, folder, digest, stamp, image_size)
    except (MixedSizesError, LargeImagesError):
        return _load(small, folder, digest, stamp)


def _load(source: Source, folder: Path, digest: str, stamp: str, image_size: int | None = None) -> Images:
    entry = _entry(source, folder, digest)
    images = _read(source, entry, digest)
    if images is None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / f".{entry.name}.lock"):
                images = _read(source, entry, digest)  # another process may have been at it
                if images is None:
                    _build(source, entry, stamp, image_size)
                    images = _read(source, entry, digest)
        except OSError as error:
            raise cache_unwritable(folder, error) from error
    if images is None:
        raise TP1Error(f"the cache at {entry} changes while it is read: check that disk.")
    if source.resize is None:
        _check_size(images.pixels.shape[1:], image_size, source.origin)
    return images


def _entry(source: Source, folder: Path, digest: str) -> Path:
    resized = f"-{source.resize}px" if source.resize else ""
    return folder / f"{entry_title(source.name)}-{digest}{resized}"


def _check_size(shape: tuple[int, ...], image_size: int | None, origin: str) -> None:
    """Raise LargeImagesError for images that are to be resized when they are decoded."""
    height, width = shape[:2]
    if max(shape) <= (LARGE if image_size else LARGEST) or (image_size and height * width <= image_size**2):
        return
    raise LargeImagesError(
        f"the images in {origin} have {width}x{height} pixels, and networks take {LARGEST} per side at most: give "
        "image_size=PIXELS, such as 224, to which they are resized."
    )


def entry_title(name: str) -> str:
    """Return a data set's name as the start of an entry's name, cut so that file systems accept the whole."""
    return re.sub(r"[^\w.-]", "_", name).lstrip(".")[:40] or "_"


def content_digest(files: Mapping[str, Path], folder: Path) -> str:
    """Return SHA-256 over the files' names and bytes, first 16 hex digits; cached by their paths, sizes and times.

    Args:
        folder: The folder of the caches.

    Raises:
        TP1Error: There are no files, one cannot be read, or the cache cannot be written (unless it is full or only for
            reading: then nothing is remembered).
    """
    return _digest_and_stamp(files, folder)[0]


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


def _digest_and_stamp(files: Mapping[str, Path], folder: Path) -> tuple[str, str]:
    """Return what :func:`content_digest` does, and the files' stamp from before their content was read."""
    if not files:  # the digest of nothing never changes
        raise TP1Error("the source names no file that its images are made of, so that a change could not be seen.")
    stamp = _stamp(files)
    known = folder / "digests" / stamp
    if (digest := _known_digest(known)) is not None:
        return digest, stamp
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
    return digest, stamp


def _known_digest(known: Path) -> str | None:
    """Return the digest stored in the file ``known``, or None if the file is missing or altered."""
    try:
        digest, check = known.read_text(encoding="utf-8").split(" ")
    except (OSError, ValueError):
        return None
    return digest if check == check_of(known.name, digest) else None


def check_of(*texts: str) -> str:
    """Return a checksum of the texts: 16 hex digits."""
    return hashlib.sha256("\0".join(texts).encode(errors="surrogateescape")).hexdigest()[:16]


def _read(source: Source, entry: Path, digest: str) -> Images | None:
    """Return the entry's images, or None if the entry is missing or damaged."""
    try:
        meta = json.loads((entry / "meta.json").read_text(encoding="utf-8"))
        if meta["format"] != _format(source) or meta.pop("check") != check_of(json.dumps(meta, sort_keys=True)):
            return None
        with (entry / PIXELS).open("rb") as file:
            if os.fstat(file.fileno()).st_size != math.prod(meta["shape"]):  # a map would show the first of more bytes
                return None
            if hashlib.file_digest(file, "sha256").hexdigest() != meta["pixels_sha256"]:
                return None
        pixels = np.memmap(entry / PIXELS, np.uint8, "r", shape=tuple(meta["shape"]))
        is_test = None if meta["is_test"] is None else np.array(meta["is_test"], bool)
        is_val = np.array(meta["is_val"], bool) if "is_val" in meta else None
        listing = Listing(tuple(meta["classes"]), meta["names"], np.array(meta["labels"], np.int64), is_test, is_val)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, *NO_JSON):
        return None
    except OSError as error:
        raise cache_unreadable(entry, error) from error
    return Images(source.name, source.origin, listing, pixels, digest, entry, source.resize)


def _format(source: Source) -> int:
    return FORMAT if source.resize is None else RESIZED_FORMAT


def _build(source: Source, entry: Path, stamp: str, image_size: int | None) -> None:
    """Decode into a temporary folder, renamed to the entry when complete. The caller holds the lock.

    After a kill or a signal, the next attempt goes on with the images that are decoded already.

    Args:
        stamp: Of the files from before their digest was computed: they must not have changed since.
    """
    with whole_folder(entry, going_on=True) as partial:
        listing = source.list()
        check_listing(listing, source.origin)
        check_class_names(listing.classes, source.origin)
        check_classes(listing, source.origin)
        # Written sequentially, not through a memory map: a full disk then raises OSError instead of a bus error.
        with GrowingFile(
            partial / PIXELS, check_of(str(_format(source)), stamp, *listing.names), np.dtype(np.uint8)
        ) as pixels:
            if pixels.rows:
                say(f"Decoding goes on after {pixels.rows:,} of {len(listing.names):,} images of {source.name}.")
            _decode(source, listing, pixels, entry, image_size)
            digest = pixels.finish()
        if _stamp(source.files()) != stamp:
            raise TP1Error(
                f"files of {source.origin} changed while they were read: start again when nothing writes there."
            )
        meta = {
            "format": _format(source),
            "shape": [len(listing.names), *(pixels.row_shape or ())],
            "pixels_sha256": digest,
            "classes": listing.classes,
            "names": listing.names,
            "labels": listing.labels.tolist(),
            "is_test": None if listing.is_test is None else listing.is_test.tolist(),
        }
        if listing.is_val is not None:
            meta["is_val"] = listing.is_val.tolist()
        (partial / "meta.json").write_text(
            json.dumps(meta | {"check": check_of(json.dumps(meta, sort_keys=True))}), encoding="utf-8"
        )


def _decode(source: Source, listing: Listing, pixels: GrowingFile, entry: Path, image_size: int | None) -> None:
    """Decode the images that ``pixels`` does not have yet."""
    missing = len(listing.names) - pixels.rows
    images = source.decode(listing.after(pixels.rows))
    for name, image in zip(listing.names[pixels.rows :], progress(images, "Decoding", missing), strict=True):
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,):
            raise TP1Error(f"{source.origin} decodes {name} to something else than uint8 RGB (H, W, 3).")
        if pixels.row_shape is None:
            if source.resize is None:
                _check_size(image.shape, image_size, source.origin)
            check_space(missing * image.nbytes, entry.parent, "decoded images")
        elif image.shape != (shape := pixels.row_shape):
            raise MixedSizesError(
                f"images in {source.origin} differ in size: {listing.names[0]} has {shape[1]}x{shape[0]} "
                f"pixels, {name} has {image.shape[1]}x{image.shape[0]}. Give image_size=PIXELS to bring "
                "all to one size."
            )
        pixels.append(image[None])


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
