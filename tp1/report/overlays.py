"""Pictures with what a model looked at laid over them."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLOUR = (255, 0, 255)  # rare in photographs
MOST = 0.7  # of the colour, where a pixel speaks most for the class
CAPTION = "Magenta marks what speaks for the predicted class; an image without it has nothing that does"


def overlaid(picture: Image.Image, heat: NDArray[np.float32]) -> Image.Image:
    """Lay heat over a picture in magenta; where there is none, the picture stays as it is.

    Args:
        picture: RGB, of any size.
        heat: float32 (h, w), from 0 to 1, of the whole picture in any size.
    """
    full = Image.fromarray(heat).resize(picture.size, Image.Resampling.BILINEAR)
    share = MOST * np.clip(np.asarray(full), 0, 1)[..., None]
    mixed = (1 - share) * np.asarray(picture, np.float32) + share * np.array(COLOUR, np.float32)
    return Image.fromarray(np.rint(mixed).astype(np.uint8))
