"""A network with everything it needs to take raw images; this is trained, exported and served."""

import torch
import torch.nn.functional as F
from torch import nn

from tp1.models.folded import fold


class Preparation(nn.Module):
    """Prepare uint8 images for a network: resize (bilinear, antialiased) and normalise.

    Args:
        image_size: S, pixels per side that the network takes.
        mean, std: Mean and standard deviation of channels R, G and B on a scale of 0 to 1.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, image_size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.image_size = image_size
        # (x / 255 - mean) / std, as one multiplication and one addition. std is raised to at least 1 / 255: it is 0
        # for a channel that is constant in the training images.
        spread = [max(value, 1 / 255) for value in std]
        scale = [1 / (255 * value) for value in spread]
        shift = [-m / value for m, value in zip(mean, spread, strict=True)]
        self.register_buffer("scale", torch.tensor(scale).view(1, 3, 1, 1))
        self.register_buffer("shift", torch.tensor(shift).view(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 RGB (N, H, W, 3) -> float32 (N, 3, S, S), channels last in memory."""
        batch = images.permute(0, 3, 1, 2).float()
        if batch.shape[-2:] != (self.image_size, self.image_size):
            batch = F.interpolate(batch, (self.image_size, self.image_size), mode="bilinear", antialias=True)
        return torch.addcmul(self.shift, batch, self.scale)


class ImageModel(nn.Module):
    """Base class of the models that are trained and evaluated: inputs in, logits or class probabilities out.

    Attributes:
        classes: Names of the classes, by class number.
        image_size: Pixels per side that the network inside takes; 0: it takes features.
    """

    def __init__(self, classes: tuple[str, ...], image_size: int = 0) -> None:
        super().__init__()
        self.classes = classes
        self.image_size = image_size

    @property
    def device(self) -> torch.device:
        """The device that holds the model."""
        return next(self.parameters()).device

    def logits(self, batch: torch.Tensor) -> torch.Tensor:
        """N inputs -> float32 logits (N, classes)."""
        raise NotImplementedError

    def as_served(self) -> "ImageModel":
        """The model in the form that is exported, which is the one that test figures are measured on."""
        return self

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """N inputs -> float32 probabilities (N, classes)."""
        return self.logits(batch).softmax(dim=1)


class Classifier(ImageModel):
    """A model that takes uint8 images (N, H, W, 3); resizing and normalisation are inside.

    Args:
        net: Takes float32 (N, 3, S, S), normalised, and returns logits (N, classes).
        classes: Names of the classes, by class number.
        preparation: Turns the images into the input of ``net``.
    """

    def __init__(self, net: nn.Module, classes: tuple[str, ...], preparation: Preparation) -> None:
        super().__init__(classes, preparation.image_size)
        self.preparation = preparation
        self.net = net

    def logits(self, batch: torch.Tensor) -> torch.Tensor:
        """uint8 RGB (N, H, W, 3) -> float32 logits (N, classes)."""
        result: torch.Tensor = self.net(self.preparation(batch))
        return result.float()

    def as_served(self) -> "Classifier":
        """With batch norm folded into the convolutions, in evaluation mode, which this one is left in too."""
        self.eval()
        return Classifier(fold(self.net), self.classes, self.preparation).eval()
