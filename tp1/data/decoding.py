"""An image file as pixels: any format that Pillow decodes itself, upright, in RGB."""

import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

# Formats that an image file may have, whatever its suffix: those that Pillow decodes itself. For PostScript it would
# start Ghostscript.
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")


def read_image(path: Path) -> Image.Image:
    """Read an image file as upright RGB in its own size, on white where it is transparent.

    The declared size is checked against Pillow's limit before any pixel is decoded.

    Raises:
        Exception: Any error of Pillow's readers, such as SyntaxError for a broken PNG; ValueError for a pipe or a
            device, whose reading might never end.
    """
    if stat.S_ISREG(path.stat().st_mode):
        with Image.open(path, formats=FORMATS) as image:
            return as_rgb(image)
    raise ValueError("it is no file")


def as_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to upright RGB of 8 bits, on white where it is transparent.

    Pillow's own conversion would turn 16-bit greys white and show the arbitrary colours of transparent pixels.

    Raises:
        ValueError: The image's mode has no fixed range of brightness.
    """
    if image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode} has no fixed range of brightness")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))
    elif image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return image.convert("RGB")


@contextmanager
def bombs_refused() -> Iterator[None]:
    """Inside the block, Pillow refuses images above its pixel limit; otherwise it only warns up to twice the limit."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield
