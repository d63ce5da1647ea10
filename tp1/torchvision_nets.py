"""torchvision's networks of the report's second part, untrained, with as many classes as are asked for.

torchvision is imported where it is used: that takes seconds, which commands without it need not wait for.

Each takes float32 images (N, 3, S, S), normalised, and returns logits (N, classes). Both end in adaptive average
pooling and so take any S that leaves their convolutions something to see.
"""

from torch import nn

from tp1.errors import TP1Error

SMALLEST = {"alexnet": 63, "mobilenet_v2": 32}  # pixels per side that leave a feature map of one pixel


def alexnet(classes: int, image_size: int, dropout: float = 0.5) -> nn.Module:
    """AlexNet (Krizhevsky 2014, "One weird trick"): 57.0 million parameters with 10 classes.

    Features of 64x64 pixels are 256x1x1, of 128 256x3x3, of 224 256x6x6; they are pooled to 256x6x6.
    ``dropout`` stands before the two hidden dense layers.
    """
    from torchvision import models

    check_image_size("alexnet", image_size)
    return models.alexnet(num_classes=classes, dropout=dropout)  # type: ignore[no-any-return]


def mobilenet_v2(classes: int, image_size: int, dropout: float = 0.2) -> nn.Module:
    """MobileNetV2 (Sandler et al. 2018): 2.24 million parameters with 10 classes.

    Features of 64x64 pixels are 1280x2x2, of 128 1280x4x4, of 224 1280x7x7; they are averaged to 1280.
    ``dropout`` stands before the one dense layer.
    """
    from torchvision import models

    check_image_size("mobilenet_v2", image_size)
    return models.mobilenet_v2(num_classes=classes, dropout=dropout)  # type: ignore[no-any-return]


def check_image_size(architecture: str, image_size: int) -> None:
    """Raise TP1Error where the convolutions would leave nothing."""
    if image_size < SMALLEST[architecture]:
        raise TP1Error(
            f"image_size={image_size} is too small for {architecture}: give {SMALLEST[architecture]} or more."
        )
