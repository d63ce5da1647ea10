"""Cache of decoded images: one memory-mapped uint8 array per data set, keyed by the content of its files."""

import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from tp1.base.errors import TP1Error
from tp1.base.folders import whole_folder
from tp1.base.progress import progress, say
from tp1.data.cache_folder import NO_JSON, cache_unreadable, cache_unwritable, check_of, check_space, entry_title
from tp1.data.class_names import check_class_names
from tp1.data.decoding import LARGE
from tp1.data.file_digests import FilesState, files_state
from tp1.data.growing import GrowingFile
from tp1.data.source import Listing, Resizable, Source, check_listing
from tp1.data.splits import check_classes

FORMAT = 3  # stored in every entry: increase it when decoding or rounding changes
RESIZED_FORMAT = 5  # that of entries whose images were resized: increase it when resizing changes
LARGEST = 1024  # pixels per side: images that are larger need an image_size=
PIXELS = "pixels.bin"  # in an entry: the images, one after the other


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
    state = files_state(source.files(), folder)
    if image_size is None or not isinstance(source, Resizable):
        return _load(source, folder, state)
    small = source.resized(image_size)
    # The entry is there only if these images were once found to need resizing.
    if (images := _read(small, _entry(small, folder, state.digest), state.digest)) is not None:
        return images
    try:
        return _load(source, folder, state, image_size)
    except (MixedSizesError, LargeImagesError):
        return _load(small, folder, state)


def _load(source: Source, folder: Path, state: FilesState, image_size: int | None = None) -> Images:
    entry = _entry(source, folder, state.digest)
    images = _read(source, entry, state.digest)
    if images is None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / f".{entry.name}.lock"):
                images = _read(source, entry, state.digest)  # another process may have been at it
                if images is None:
                    _build(source, entry, state, image_size)
                    images = _read(source, entry, state.digest)
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


def _build(source: Source, entry: Path, state: FilesState, image_size: int | None) -> None:
    """Decode into a temporary folder, renamed to the entry when complete. The caller holds the lock.

    After a kill or a signal, the next attempt goes on with the images that are decoded already.

    Args:
        state: Of the files: they must not have changed since.
    """
    with whole_folder(entry, going_on=True) as partial:
        listing = source.list()
        check_listing(listing, source.origin)
        check_class_names(listing.classes, source.origin)
        check_classes(listing, source.origin)
        # Written sequentially, not through a memory map: a full disk then raises OSError instead of a bus error.
        with GrowingFile(
            partial / PIXELS, check_of(str(_format(source)), state.stamp, *listing.names), np.dtype(np.uint8)
        ) as pixels:
            if pixels.rows:
                say(f"Decoding goes on after {pixels.rows:,} of {len(listing.names):,} images of {source.name}.")
            _decode(source, listing, pixels, entry, image_size)
            digest = pixels.finish()
        state.check_unchanged(source.files(), source.origin)
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
