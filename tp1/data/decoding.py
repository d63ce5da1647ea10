"""An image file as pixels: any format that Pillow decodes itself, upright, in RGB."""

import logging
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from tp1.base.errors import why

# Formats that an image file may have, whatever its suffix: those that Pillow decodes itself. For PostScript it would
# start Ghostscript.
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
LARGE = 256  # pixels of the longer side: only what is larger may be brought to another size when it is decoded
MARGIN = 2  # a large JPEG is decoded to this many times the wanted size or more, and resized from there


def read_image(path: Path, size: tuple[int, int] | None = None) -> Image.Image:
    """Read an image file as upright RGB in its own size, on white where it is transparent.

    The declared size is checked against Pillow's limit before any pixel is decoded.

    Args:
        size: The (width, height) to which the caller resizes it. A JPEG that is much larger is decoded at 1/2, 1/4 or
            1/8 of its size, at least :data:`MARGIN` times ``size``: a photograph of 4000x3000 pixels then takes 0.6 MB
            of memory in place of 36. None: the image's own size.

    Raises:
        Exception: Any error of Pillow's readers, such as SyntaxError for a broken PNG; ValueError for a pipe or a
            device, whose reading might never end. :func:`reason` puts it in words.
    """
    if stat.S_ISREG(path.stat().st_mode):
        # A file, not a path: of a path, Pillow maps an uncompressed TIFF into memory, and swaps its sides if it lies.
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            # A smaller one may also be resized after it was decoded, in a data set of one size: to the same pixels.
            if size is not None and image.format == "JPEG" and max(image.size) > LARGE:
                side = MARGIN * max(size)  # the photograph may lie on its side
                image.draft(image.mode, (side, side))
            return as_rgb(image)
    raise ValueError("it is no file")


def read_resized(path: Path, size: tuple[int, int]) -> tuple[Image.Image, bool]:
    """Read an image file as RGB of ``size`` (width, height), as for training; whether it had another size is returned.

    Raises:
        Exception: As :func:`read_image`.
    """
    image = read_image(path, size)
    return (image, False) if image.size == size else (image.resize(size, Image.Resampling.BICUBIC), True)


def as_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to upright RGB of 8 bits, on white where it is transparent; an RGB image may be itself.

    Pillow's own conversion would turn 16-bit greys white and show the arbitrary colours of transparent pixels.

    Raises:
        ValueError: The image's mode has no fixed range of brightness.
    """
    is_deep = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")  # which scales to 16 bits
    if image.mode in ("I", "F") and not is_deep:
        raise ValueError(f"mode {image.mode} has no fixed range of brightness")
    image.load()
    ImageOps.exif_transpose(image, in_place=True)  # else it would copy an image that is upright
    if is_deep:
        image = Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))
    elif image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return image if image.mode == "RGB" else image.convert("RGB")  # which would copy an RGB image


def reason(error: Exception, path: Path | None = None) -> str:
    """Say in a few words why an image could not be read.

    Args:
        path: The image's file, if it has one.
    """
    if isinstance(error, UnidentifiedImageError):  # its message repeats the path
        tiff = _describe_tiff(path) if path is not None else ""
        return f"{tiff}, in a form that Pillow does not read: make it RGB of 8 bits" if tiff else "not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return why(error)


def _describe_tiff(path: Path) -> str:
    """Return the bands and bits that a TIFF declares, in words; empty if it is no TIFF."""
    with suppress(Exception), path.open("rb") as file:  # of a damaged header, any error
        header = file.read(8)
        if header[:2] not in (b"II", b"MM"):
            return ""
        directory = TiffImagePlugin.ImageFileDirectory_v2(header)
        file.seek(directory.next)
        directory.load(file)
        bands = int(directory.get(TiffImagePlugin.SAMPLESPERPIXEL, 1))
        bits = directory[TiffImagePlugin.BITSPERSAMPLE][0]
        return f"a TIFF of {bands} band{'s' * (bands != 1)} of {bits} bits"
    return ""


@contextmanager
def strict_and_quiet() -> Iterator[None]:
    """Inside the block, Pillow refuses images above its pixel limit, where it only warns up to twice the limit.

    It says nothing else: what is wrong with a file stands in its error (:func:`reason`), and odd metadata, of which it
    warns, are no fault of an image.
    """
    logger = logging.getLogger("PIL")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(level)
