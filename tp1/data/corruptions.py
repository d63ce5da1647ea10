"""Harder images: corruptions of whole batches in five strengths, to see how a model breaks.

Noise, blur, brightness, contrast and JPEG are those of Hendrycks and Dietterich 2019, Benchmarking Neural Network
Robustness to Common Corruptions and Perturbations, with the strengths of its set for images of 32 pixels, CIFAR-10-C.
Noise and blur are its Gaussian ones. Two things differ: a result is rounded to 8 bits, where theirs is cut off; and the
blur, which is measured in pixels, grows with the image's shorter side, so that a larger picture is as hard to make out.

That set has neither shift nor rotation. Both are defined here: each image moves or turns in a direction of its own, and
its edge is repeated outwards, so that no black border gives the corruption away.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Images = NDArray[np.uint8]
SIDE = 32  # pixels of the images that lengths are given for


@dataclass(frozen=True)
class Corruption:
    """A way to make images harder.

    Attributes:
        amounts: How much, for strengths 1 to 5.
        unit: What the amount is.
        apply: Changes a batch: uint8 (N, H, W, 3), the amount, and a generator that it may draw from -> the same shape.
    """

    amounts: tuple[float, float, float, float, float]
    unit: str
    apply: Callable[[Images, float, np.random.Generator], Images]


def corrupted(images: Images, kind: str, strength: int, generator: np.random.Generator) -> Images:
    """Corrupt a batch of images; the same for any division into batches.

    Args:
        images: uint8 RGB (N, H, W, 3).
        kind: A name in :data:`CORRUPTIONS`.
        strength: 1 to 5.
        generator: As :func:`generator_for` returns it; used for one batch after the other.
    """
    corruption = CORRUPTIONS[kind]
    return corruption.apply(images, corruption.amounts[strength - 1], generator)


def generator_for(seed: int, kind: str, strength: int) -> np.random.Generator:
    """Return the generator for one kind and strength: what is drawn does not depend on the other ones."""
    return np.random.default_rng([seed, strength, *kind.encode()])


def _noise(images: Images, amount: float, generator: np.random.Generator) -> Images:
    noise = generator.standard_normal(images.shape, np.float32)
    return _rounded(images + np.float32(255 * amount) * noise)


def _blur(images: Images, amount: float, generator: np.random.Generator) -> Images:
    from scipy.ndimage import gaussian_filter

    sigma = amount * _scale(images)
    return _rounded(gaussian_filter(images.astype(np.float32), (0, sigma, sigma, 0), mode="nearest", truncate=4))


def _brightness(images: Images, amount: float, generator: np.random.Generator) -> Images:
    """Add to the value of hue, saturation and value, which scales the three channels by one factor."""
    value = images.max(axis=-1, keepdims=True).astype(np.float32)
    brighter = np.minimum(value + np.float32(255 * amount), 255)
    # Black has no hue: it becomes grey.
    return _rounded(np.where(value > 0, images * (brighter / np.maximum(value, 1)), brighter))


def _contrast(images: Images, amount: float, generator: np.random.Generator) -> Images:
    mean = images.mean(axis=(1, 2), keepdims=True, dtype=np.float64).astype(np.float32)
    return _rounded((images - mean) * np.float32(amount) + mean)


def _jpeg(images: Images, amount: float, generator: np.random.Generator) -> Images:
    result = np.empty_like(images)
    for row, image in enumerate(images):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=int(amount))
        with Image.open(buffer) as decoded:
            result[row] = np.asarray(decoded)
    return result


def _shift(images: Images, amount: float, generator: np.random.Generator) -> Images:
    """Move each image diagonally, by the amount to one side and as far up or down."""
    count, height, width, _ = images.shape
    pixels = round(amount * _scale(images))
    y, x = (np.where(generator.random((count, 2)) < 0.5, -1, 1) * pixels).T
    rows = np.clip(np.arange(height) - y[:, None], 0, height - 1)
    columns = np.clip(np.arange(width) - x[:, None], 0, width - 1)
    moved: Images = images[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved


def _rotation(images: Images, amount: float, generator: np.random.Generator) -> Images:
    """Turn each image around its middle, to the left or to the right, with bilinear interpolation."""
    import torch
    import torch.nn.functional as F

    count, height, width, _ = images.shape
    angle = np.radians(np.where(generator.random(count) < 0.5, -amount, amount))
    sine, cosine, nothing = np.sin(angle), np.cos(angle), np.zeros(count)
    # In the grid's coordinates both sides are 2 long.
    turned = [[cosine, -sine * height / width, nothing], [sine * width / height, cosine, nothing]]
    theta = torch.from_numpy(np.array(turned, np.float32).transpose(2, 0, 1).copy())
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    grid = F.affine_grid(theta, list(batch.shape), align_corners=False)
    found = F.grid_sample(batch, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return _rounded(found.permute(0, 2, 3, 1).numpy())


def _scale(images: Images) -> float:
    height, width = images.shape[1:3]
    return float(min(height, width)) / SIDE


def _rounded(values: NDArray[np.float32]) -> Images:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


CORRUPTIONS = {
    "noise": Corruption((0.04, 0.06, 0.08, 0.09, 0.10), "standard deviation, on a scale of 0 to 1", _noise),
    "blur": Corruption((0.4, 0.6, 0.7, 0.8, 1.0), "sigma in pixels, of a side of 32", _blur),
    "brightness": Corruption(
        (0.05, 0.1, 0.15, 0.2, 0.3), "added to the value of HSV, on a scale of 0 to 1", _brightness
    ),
    "contrast": Corruption((0.75, 0.5, 0.4, 0.3, 0.15), "factor of the distance from the image's mean", _contrast),
    "jpeg": Corruption((80, 65, 58, 50, 40), "quality", _jpeg),
    "shift": Corruption((1, 2, 3, 4, 6), "pixels each way, of a side of 32", _shift),
    "rotation": Corruption((5, 10, 15, 20, 30), "degrees", _rotation),
}
