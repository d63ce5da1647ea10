"""The networks, untrained: an experiment's ``model`` is one of these functions.

torch and torchvision are imported only where a network is built: importing them takes seconds and half a gigabyte,
which commands that build no network (``tp1 compare``) save.

Each network takes normalised float32 images (N, 3, S, S) and returns logits (N, classes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tp1.base.errors import TP1Error

if TYPE_CHECKING:
    from torch import nn

SMALLEST = {"alexnet": 63, "mobilenet_v2": 32}  # pixels per side at which the feature map has one pixel


def cnn_base(classes: int, image_size: int, dropout: float) -> nn.Module:
    """Section 1.2: see :class:`tp1.models.cnn.CNNBase`."""
    from tp1.models.cnn import CNNBase

    return CNNBase(classes, image_size, dropout)


def cnnv2(classes: int, image_size: int, dropout: float) -> nn.Module:
    """Section 1.3: see :class:`tp1.models.cnn.CNNV2`."""
    from tp1.models.cnn import CNNV2

    return CNNV2(classes, image_size, dropout)


def cnnv3(classes: int, image_size: int, dropout: float) -> nn.Module:
    """Section 1.4: see :class:`tp1.models.cnn.CNNV3`."""
    from tp1.models.cnn import CNNV3

    return CNNV3(classes, image_size, dropout)


def cnnv3_one_rate(classes: int, image_size: int, dropout: float) -> nn.Module:
    """Section 1.5: CNNV3 with the same dropout after its second to fifth block, as table 2 gives one rate."""
    from tp1.models.cnn import CNNV3

    return CNNV3(classes, image_size, dropout, first_dropout=dropout)


def airnet(classes: int, image_size: int, dropout: float = 0.0) -> nn.Module:
    """Not of the report: see :class:`tp1.models.airnet.AirNet`."""
    from tp1.models.airnet import AirNet

    return AirNet(classes, image_size, dropout)


def alexnet(classes: int, image_size: int, dropout: float = 0.5) -> nn.Module:
    """AlexNet (Krizhevsky 2014, "One weird trick"): 57.0 million parameters with 10 classes.

    Feature maps are 256x1x1 for S = 64, 256x3x3 for 128 and 256x6x6 for 224; they are pooled to 256x6x6.
    S is 63 or more. ``dropout`` comes before each of the two hidden dense layers.
    """
    from torchvision import models

    check_image_size("alexnet", image_size)
    return models.alexnet(num_classes=classes, dropout=dropout)  # type: ignore[no-any-return]


def mobilenet_v2(classes: int, image_size: int, dropout: float = 0.2) -> nn.Module:
    """MobileNetV2 (Sandler et al. 2018): 2.24 million parameters with 10 classes.

    Feature maps are 1280x2x2 for S = 64, 1280x4x4 for 128 and 1280x7x7 for 224; they are averaged to 1280.
    S is 32 or more. ``dropout`` comes before the one dense layer.
    """
    from torchvision import models

    check_image_size("mobilenet_v2", image_size)
    return models.mobilenet_v2(num_classes=classes, dropout=dropout)  # type: ignore[no-any-return]


def check_image_size(architecture: str, image_size: int) -> None:
    """Raise TP1Error if the convolutions would reduce images of this size to nothing."""
    if image_size < SMALLEST[architecture]:
        raise TP1Error(
            f"image_size={image_size} is too small for {architecture}: give {SMALLEST[architecture]} or more."
        )
