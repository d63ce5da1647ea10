"""Frozen convolutions with a new classifier: transfer learning, and fusion of two networks (sections 2.1 and 2.2)."""

import copy
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from tp1.experiment import Transfer
from tp1.models.classifier import ImageModel, Preparation
from tp1.models.dropout import Dropout
from tp1.models.folded import fold
from tp1.models.networks import check_image_size

CHANNELS = {"alexnet": 256, "mobilenet_v2": 1280}


class Trunk(nn.Module):
    """The convolutions of a network, frozen: weights and batch-norm statistics never change.

    Features are rounded to float16 whether they come from the cache or are computed for a batch, so that the
    head sees the same values. They are computed in float32 (on CUDA with the precision that torch is set to for
    float32 convolutions), even if the head trains in bfloat16.

    Args:
        architecture: ``alexnet`` or ``mobilenet_v2``.
        preparation: Turns the images into the input of the convolutions.
    """

    def __init__(self, architecture: str, preparation: Preparation) -> None:
        from torchvision import models  # imported here because it takes seconds: see networks

        super().__init__()
        check_image_size(architecture, preparation.image_size)
        self.architecture = architecture
        self.preparation = preparation
        self.features: nn.Module = getattr(models, architecture)(weights=None).features
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Trunk":
        """Stay in evaluation mode, in which batch norm uses its statistics and does not update them."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 RGB (N, H, W, 3) -> float16 features (N, C, h, w)."""
        with torch.autocast(images.device.type, enabled=False):
            features: torch.Tensor = self.features(self.preparation(images))
        return features.half()

    def folded(self) -> "Trunk":
        """A trunk with the same features whose batch norm is folded into the convolutions, which is faster.

        The state of the network is no longer in it: another training cannot start from its weights.
        """
        result = copy.copy(self)
        result._modules = {**self._modules, "features": fold(self.features)}
        return result

    def feature_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of one image's features."""
        device = self.preparation.scale.device
        channels, height, width = self(torch.zeros(1, 8, 8, 3, dtype=torch.uint8, device=device)).shape[1:]
        return channels, height, width


def join(features: Sequence[torch.Tensor], side: int) -> torch.Tensor:
    """Resize feature maps to ``side`` pixels per side by adaptive average pooling, and concatenate their channels.

    Args:
        features: float16 (N, C_i, h_i, w_i) of each trunk i.

    Returns:
        float16 (N, sum of C_i, side, side).
    """
    return torch.cat([F.adaptive_avg_pool2d(maps.float(), side) for maps in features], dim=1).half()


class TransferClassifier(ImageModel):
    """A model that takes uint8 images (N, H, W, 3): frozen trunks, whose joined features go to a trainable head.

    Args:
        trunks: One, or several whose features are fused.
        head: Takes float32 (N, channels of all trunks, side, side) and returns logits (N, classes).
        classes: Names of the classes, by class number.
        side: Pixels per side to which every trunk's features are pooled.
    """

    def __init__(self, trunks: Sequence[Trunk], head: nn.Module, classes: tuple[str, ...], side: int) -> None:
        super().__init__(classes, max(trunk.preparation.image_size for trunk in trunks))
        self.trunks = nn.ModuleDict({trunk.architecture: trunk for trunk in trunks})
        self.ordered_trunks = tuple(trunks)  # typed; the dictionary above names them in the state
        self.head = head
        self.side = side

    def logits(self, batch: torch.Tensor) -> torch.Tensor:
        """uint8 RGB (N, H, W, 3) -> float32 logits (N, classes)."""
        joined = join([trunk(batch) for trunk in self.ordered_trunks], self.side)
        result: torch.Tensor = self.head(joined.float())
        return result.float()

    def as_served(self) -> "TransferClassifier":
        """With folded trunks, as features are computed for the cache; the head is shared."""
        return TransferClassifier([trunk.folded() for trunk in self.ordered_trunks], self.head, self.classes, self.side)


class FeatureClassifier(ImageModel):
    """Only the head of a :class:`TransferClassifier`, for precomputed features; it shares the weights."""

    def __init__(self, whole: TransferClassifier) -> None:
        super().__init__(whole.classes)
        self.head = whole.head

    def logits(self, batch: torch.Tensor) -> torch.Tensor:
        """float16 joined features (N, C, side, side) -> float32 logits (N, classes)."""
        result: torch.Tensor = self.head(batch.float())
        return result.float()


def build_transfer(
    transfer: Transfer, preparations: Sequence[Preparation], classes: tuple[str, ...], dropout: float
) -> TransferClassifier:
    """Build the whole model; the weights of its trunks are not loaded yet.

    Args:
        preparations: One for each trunk.
    """
    trunks = [Trunk(name, preparation) for name, preparation in zip(transfer.trunks, preparations, strict=True)]
    side = transfer.side or trunks[0].feature_shape()[1]
    channels = sum(CHANNELS[name] for name in transfer.trunks)
    head = HEADS[transfer.head](channels, side, len(classes), dropout)
    return TransferClassifier(trunks, head, classes, side)


def linear_head(channels: int, side: int, classes: int, dropout: float) -> nn.Module:
    """MobileNetV2's own classifier: dropout, then one dense layer."""
    return nn.Sequential(nn.Flatten(), Dropout(dropout), nn.Linear(channels * side * side, classes))


def alexnet_head(channels: int, side: int, classes: int, dropout: float) -> nn.Module:
    """AlexNet's own classifier, for 256 channels of 6x6: two hidden layers of 4,096, dropout before each."""
    from torchvision import models

    return nn.Sequential(nn.Flatten(), *models.alexnet(num_classes=classes, dropout=dropout).classifier)


def fusion_head(channels: int, side: int, classes: int, dropout: float) -> nn.Module:
    """One hidden dense layer of 256 with dropout before and after it; the report says only "new classifier"."""
    return nn.Sequential(
        nn.Flatten(),
        Dropout(dropout),
        nn.Linear(channels * side * side, 256),
        nn.ReLU(inplace=True),
        Dropout(dropout),
        nn.Linear(256, classes),
    )


HEADS: dict[str, Callable[[int, int, int, float], nn.Module]] = {
    "linear": linear_head,
    "alexnet": alexnet_head,
    "fusion": fusion_head,
}
