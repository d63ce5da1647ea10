"""The report's own networks for CIFAR-10 (sections 1.2 to 1.4).

Each takes normalised float32 images (N, 3, S, S) and returns logits (N, classes). Parameter counts in
the docstrings are for S = 32 and 10 classes. Every convolution is 3x3; pooling is 2x2. Max pooling comes
before ReLU: the two commute exactly, and pooling first leaves ReLU a quarter of the work.

What the report leaves open was chosen to come near the training and validation figures that it prints,
never by test accuracy (docs/LOG.md, 2026-11-25 and 2026-11-26).
"""

import torch
from torch import nn

from tp1.base.errors import TP1Error
from tp1.models.convolution import Conv3x3
from tp1.models.dropout import Dropout


class CNNBase(nn.Module):
    """Section 1.2: three convolutions of 8, 32 and 16 filters; 24,282 parameters.

    (N, 3, 32, 32) -> 8x15x15 -> 32x6x6 -> 16x4x4 -> 256 -> 64 -> classes.

    The report gives the filters alone. Chosen here: no padding; average pooling and then ReLU after the first two
    convolutions, in the order of LeNet-5 (LeCun et al. 1998); ReLU after the third; and a hidden dense layer of 64,
    followed by ``dropout`` (default 0: the report names none).
    """

    def __init__(self, classes: int, image_size: int = 32, dropout: float = 0.0) -> None:
        super().__init__()
        side = _side_after(2, image_size, "CNNBase", lost=2, lost_last=2)
        layers: list[nn.Module] = []
        for filters_in, filters in ((3, 8), (8, 32)):
            layers += [nn.Conv2d(filters_in, filters, 3), nn.AvgPool2d(2), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers, nn.Conv2d(32, 16, 3), nn.ReLU(inplace=True))
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * side * side, 64),
            nn.ReLU(inplace=True),
            Dropout(dropout),
            nn.Linear(64, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) normalised float32 -> logits (N, classes)."""
        return _apply(self.head, self.features(images))


class CNNV2(nn.Module):
    """Section 1.3: 16, 32, 64 and 128 filters, batch norm and max pooling after each; 231,578 parameters.

    (N, 3, 32, 32) -> 16x16x16 -> 32x8x8 -> 64x4x4 -> 128x2x2 -> 512 -> 256 -> classes.

    The report gives filters, batch norm, pooling and "dense layers with dropout 0.4". Chosen here: one hidden
    dense layer of 256, followed by dropout. With dropout before it too, training accuracy ended at 0.86, not 0.94.
    """

    def __init__(self, classes: int, image_size: int = 32, dropout: float = 0.4) -> None:
        super().__init__()
        side = _side_after(4, image_size, "CNNV2")
        self.features = nn.Sequential(
            *(layer for pair in ((3, 16), (16, 32), (32, 64), (64, 128)) for layer in _block(*pair))
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(128 * side * side, 256),
            nn.ReLU(inplace=True),
            Dropout(dropout),
            nn.Linear(256, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) normalised float32 -> logits (N, classes)."""
        return _apply(self.head, self.features(images))


class CNNV3(nn.Module):
    """Section 1.4: five blocks of 32, 64, 128, 256 and 512 filters, dropout rising; 1,574,698 parameters.

    (N, 3, 32, 32) -> 32x16x16 -> 64x8x8 -> 128x4x4 -> 256x2x2 -> 512x1x1 -> classes.

    The report gives five convolution blocks, the fifth with 512 filters, and dropout that rises from 0.2 to
    0.5. Chosen here: filters double from 32; a block is convolution, batch norm, max pooling and ReLU; dropout
    follows the second to the fifth block, from ``first_dropout`` to ``dropout`` in equal steps (0.2, 0.3, 0.4,
    0.5); one dense layer. Dropout after the first block too cost 0.014 of validation accuracy (docs/LOG.md,
    2026-11-24). Table 2 gives one rate for each configuration: there both are equal.
    """

    def __init__(self, classes: int, image_size: int = 32, dropout: float = 0.5, first_dropout: float = 0.2) -> None:
        super().__init__()
        side = _side_after(5, image_size, "CNNV3")
        first = min(first_dropout, dropout)
        layers = _block(3, 32)
        for step, (filters_in, filters) in enumerate(((32, 64), (64, 128), (128, 256), (256, 512))):
            layers += [*_block(filters_in, filters), Dropout(first + (dropout - first) * step / 3)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(512 * side * side, classes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) normalised float32 -> logits (N, classes)."""
        return _apply(self.head, self.features(images))


def _block(filters_in: int, filters: int) -> list[nn.Module]:
    # Batch norm subtracts the mean, so a bias before it would do nothing.
    return [
        Conv3x3(filters_in, filters),
        nn.BatchNorm2d(filters),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
    ]


def _side_after(poolings: int, image_size: int, model: str, lost: int = 0, lost_last: int = 0) -> int:
    """Pixels per side of the last feature map.

    Args:
        poolings: How many there are.
        lost: Pixels that the convolution before each pooling takes off the side.
        lost_last: Pixels that convolutions after the last pooling take off.
    """
    side, smallest = image_size, 1 + lost_last
    for _ in range(poolings):
        side, smallest = (side - lost) // 2, smallest * 2 + lost
    side -= lost_last
    if side < 1:
        raise TP1Error(
            f"image_size={image_size} is too small for {model}, which halves it {poolings} times: "
            f"give {smallest} or more."
        )
    return side


def _apply(module: nn.Module, value: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = module(value)
    return result
