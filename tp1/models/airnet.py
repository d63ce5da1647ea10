"""A network that learns quickly, for experiments that the report does not have.

Source: Jordan 2024, "94 % on CIFAR-10 in 3.29 seconds", for the layout and the fixed whitening layer, which comes from
Page 2018, "How to train your ResNet". ReLU is in the place of GELU, which is slow on a processor.
"""

import torch
from torch import nn

from tp1.base.errors import TP1Error
from tp1.models.convolution import Conv3x3
from tp1.models.dropout import Dropout

PATCH = 2
SMALLEST = 16
LEAST_VARIANCE = 5e-4  # added to the variance of a component, so that noise is not amplified without limit


class AirNet(nn.Module):
    """Whitening, and three blocks of two 3x3 convolutions; 1,972,768 parameters, of which 288 are fixed.

    (N, 3, 32, 32) -> 24x31x31, whitened -> 64x15x15 -> 256x7x7 -> 256x3x3 -> the largest value of each map -> classes.

    ``dropout`` comes before the dense layer.
    """

    def __init__(self, classes: int, image_size: int = 32, dropout: float = 0.0) -> None:
        super().__init__()
        if image_size < SMALLEST:
            raise TP1Error(f"image_size={image_size} is too small for AirNet: give {SMALLEST} or more.")
        whitened = 2 * 3 * PATCH * PATCH
        stem = nn.Conv2d(3, whitened, PATCH, bias=False)
        stem.weight.requires_grad_(False)
        layers: list[nn.Module] = [stem, nn.ReLU(inplace=True)]
        for filters_in, filters in ((whitened, 64), (64, 256), (256, 256)):
            layers += [Conv3x3(filters_in, filters), nn.MaxPool2d(2), *_norm(filters)]
            layers += [Conv3x3(filters, filters), *_norm(filters)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.AdaptiveMaxPool2d(1), nn.Flatten(), Dropout(dropout), nn.Linear(256, classes, bias=False)
        )

    @torch.no_grad()
    def start_from(self, images: torch.Tensor) -> None:
        """Set the first layer to the principal components of the images' patches, each scaled to unit variance.

        Each is there twice, with both signs: after ReLU, nothing is lost.

        Args:
            images: float32 (N, 3, S, S), normalised: training images.
        """
        patches = images.unfold(2, PATCH, 1).unfold(3, PATCH, 1).permute(0, 2, 3, 1, 4, 5)
        flat = patches.reshape(-1, 3 * PATCH * PATCH)
        variances, components = torch.linalg.eigh(flat.T @ flat / len(flat))
        filters = (components / (variances + LEAST_VARIANCE).sqrt()).T.flip(0).view(-1, 3, PATCH, PATCH)
        stem = self.features[0]
        assert isinstance(stem, nn.Conv2d)
        stem.weight.copy_(torch.cat([filters, -filters]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) normalised float32 -> logits (N, classes)."""
        logits: torch.Tensor = self.head(self.features(images))
        return logits


def _norm(filters: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(filters), nn.ReLU(inplace=True)]
