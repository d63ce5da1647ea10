"""A network with everything it needs to take raw images: what is trained, exported and served."""

import torch
import torch.nn.functional as F
from torch import nn


class Classifier(nn.Module):
    """uint8 images in, class probabilities out; resizing and normalisation are inside.

    Args:
        net: Takes float32 (N, 3, S, S), normalised, and returns logits (N, classes).
        classes: Names of the classes, by class number.
        image_size: S, pixels per side that ``net`` takes. Other images are resized (bilinear, antialiased).
        mean, std: Of channels R, G and B on a scale of 0 to 1.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(
        self,
        net: nn.Module,
        classes: tuple[str, ...],
        image_size: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.net = net
        self.classes = classes
        self.image_size = image_size
        # (x / 255 - mean) / std, as one multiplication and one addition. A channel that is constant in
        # the training images has no spread to divide by.
        spread = [max(value, 1 / 255) for value in std]
        scale = [1 / (255 * value) for value in spread]
        shift = [-m / value for m, value in zip(mean, spread, strict=True)]
        self.register_buffer("scale", torch.tensor(scale).view(1, 3, 1, 1))
        self.register_buffer("shift", torch.tensor(shift).view(1, 3, 1, 1))

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 RGB (N, H, W, 3) -> float32 (N, 3, S, S), normalised, channels last in memory."""
        batch = images.permute(0, 3, 1, 2).float()
        if batch.shape[-2:] != (self.image_size, self.image_size):
            batch = F.interpolate(batch, (self.image_size, self.image_size), mode="bilinear", antialias=True)
        return torch.addcmul(self.shift, batch, self.scale)

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 RGB (N, H, W, 3) -> float32 logits (N, classes)."""
        result: torch.Tensor = self.net(self.prepare(images))
        return result.float()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 RGB (N, H, W, 3) -> float32 probabilities (N, classes)."""
        return self.logits(images).softmax(dim=1)
