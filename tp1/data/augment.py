"""Training augmentation of whole batches, drawn independently for every image.

It has two halves. :func:`draw` draws with a CPU generator, so that a seed means the same on every device and a
checkpoint holds the generator's whole state. :func:`apply` changes the images, wherever they are.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from tp1.base.errors import TP1Error

PADDING = 1 / 8  # of the side: 4 pixels of 32, the customary crop for CIFAR-10 (He et al. 2015, section 4.2)
SHIFT = 1 / 16  # of the side, at most, in each direction: 2 pixels of 32 (Jordan 2024, section 3.1)
CUTOUT = 3 / 8  # of the side: 12 pixels of 32 (Jordan 2024)


@dataclass(frozen=True)
class Places:
    """Where each pixel of the N augmented images of a batch comes from: small tensors.

    Attributes:
        y, x: int64 (N, H) and (N, W), the row and the column in the image, after it was turned and padded.
        padding: Black rows and columns that are added on each side first.
        turned: bool (N,), whether the image is transposed first of all; None: no image is.
        black: bool (N, H) and (N, W); black where both hold. None: nowhere.
    """

    y: torch.Tensor
    x: torch.Tensor
    padding: tuple[int, int] = (0, 0)
    turned: torch.Tensor | None = None
    black: tuple[torch.Tensor, torch.Tensor] | None = None

    def moved(self, move: Callable[[torch.Tensor], torch.Tensor]) -> "Places":
        """The same places after ``move``, which copies one tensor to the images' device."""
        return replace(
            self,
            y=move(self.y),
            x=move(self.x),
            turned=None if self.turned is None else move(self.turned),
            black=None if self.black is None else (move(self.black[0]), move(self.black[1])),
        )


def draw(
    transforms: tuple[str, ...], size: tuple[int, int], rows: torch.Tensor, epoch: int, generator: torch.Generator
) -> Places | None:
    """Draw the augmentation of a batch; None if there are no transforms.

    - ``flip``: mirror each image with probability 1/2.
    - ``altflip``: mirror each image in every second epoch, half of them in the first (Jordan 2024, section 3.6).
    - ``crop``: pad with black by :data:`PADDING`, and crop at random to the old size.
    - ``translate``: shift by up to :data:`SHIFT`, continuing the image as in a mirror.
    - ``rotate``: turn by 0, 90, 180 or 270 degrees: for overhead images, which have no up.
    - ``cutout``: a black square of :data:`CUTOUT` at a random place (DeVries and Taylor 2017).

    Source: He et al. 2015; Jordan 2024, "94 % on CIFAR-10 in 3.29 seconds".

    Args:
        transforms: Names, in the order above.
        size: (H, W) of the images.
        rows: (N,) the images' numbers in the training part, on the CPU.
        epoch: Number of the epoch, from 1.
        generator: A CPU generator.

    Raises:
        TP1Error: ``rotate`` on images that are not square.
    """
    if not transforms:
        return None
    count, (height, width) = len(rows), size
    padding, turned, black = (0, 0), None, None
    y, x = torch.arange(height).expand(count, height), torch.arange(width).expand(count, width)
    crop = None
    if transforms == ("flip", "crop"):  # in this order, so that earlier runs can be repeated
        crop = _crop(count, size, generator)
    if "rotate" in transforms:
        if height != width:
            raise TP1Error(f"augment: rotate takes square images, and these have {width}x{height} pixels.")
        quarters = torch.randint(0, 4, (count, 1), generator=generator)
        turned = (quarters % 2 == 1).view(-1)
        y = torch.where((quarters == 1) | (quarters == 2), height - 1 - y, y)
        x = torch.where(quarters >= 2, width - 1 - x, x)
    if "flip" in transforms:
        x = torch.where(torch.rand(count, 1, generator=generator) < 0.5, width - 1 - x, x)
    if "altflip" in transforms:
        x = torch.where(((_mixed(rows) + epoch) % 2 == 0)[:, None], width - 1 - x, x)
    if "translate" in transforms:
        y = _mirrored(y + _shift(count, round(height * SHIFT), generator), height)
        x = _mirrored(x + _shift(count, round(width * SHIFT), generator), width)
    if "crop" in transforms:
        down, right = crop or _crop(count, size, generator)
        padding = round(height * PADDING), round(width * PADDING)
        y, x = y + (down + padding[0]), x + (right + padding[1])
    if "cutout" in transforms:
        black = _stretch(count, height, generator), _stretch(count, width, generator)
    return Places(y, x, padding, turned, black)


def apply(images: torch.Tensor, places: Places | None) -> torch.Tensor:
    """Take each pixel of a batch from its place: uint8 (N, H, W, 3) -> the same shape, on the same device.

    One gather does it all. Per-image transforms in a loop are six times slower, and torchvision's
    batch transforms draw one crop for the whole batch.

    Args:
        places: On the images' device; None: the images as they are.
    """
    if places is None:
        return images
    if places.turned is not None:
        images = torch.where(places.turned.view(-1, 1, 1, 1), images.transpose(1, 2), images)
    if places.padding != (0, 0):
        vertical, horizontal = places.padding
        images = torch.nn.functional.pad(images, (0, 0, horizontal, horizontal, vertical, vertical))
    numbers = torch.arange(len(images), device=images.device)
    images = images[numbers[:, None, None], places.y[:, :, None], places.x[:, None, :]]
    if places.black is not None:
        vertically, horizontally = places.black
        images.masked_fill_((vertically[:, :, None] & horizontally[:, None, :])[..., None], 0)
    return images


def _crop(count: int, size: tuple[int, int], generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, 1) pixels down and right."""
    height, width = size
    return _shift(count, round(height * PADDING), generator), _shift(count, round(width * PADDING), generator)


def _shift(count: int, most: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randint(-most, most + 1, (count, 1), generator=generator)


def _mirrored(places: torch.Tensor, size: int) -> torch.Tensor:
    """Places beyond the edges, led back into 0 to ``size`` - 1 as by a mirror in the last pixel."""
    return (size - 1) - ((size - 1) - places.abs()).abs()


def _stretch(count: int, size: int, generator: torch.Generator) -> torch.Tensor:
    """(N, size): a range of :data:`CUTOUT` * size places, wholly inside, is True."""
    length = round(size * CUTOUT)
    first = torch.randint(0, size - length + 1, (count, 1), generator=generator)
    places = torch.arange(size)
    return (places >= first) & (places < first + length)


def _mixed(rows: torch.Tensor) -> torch.Tensor:
    """Numbers whose lowest bit is even or odd as by chance, and always the same for the same row."""
    return (rows * 2_654_435_761 % 2**32) >> 16
