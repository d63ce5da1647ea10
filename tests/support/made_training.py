"""What small trainings are made of: a configuration, images of three classes, and a frozen trunk."""

import numpy as np
import torch

from tests.conftest import coloured_images
from tp1.config import TrainConfig
from tp1.data.dataset import Part
from tp1.models.classifier import Preparation
from tp1.models.transfer import Trunk
from tp1.models.weights import Weights, find_weights
from tp1.registry.stored_models import download_weights

CONFIG = TrainConfig(epochs=3, batch_size=16, dropout=0.4, precision="fp32")


def part(per_class: int, seed: int) -> Part:
    pixels = np.concatenate([coloured_images(label, per_class, 32, seed) for label in range(3)])
    labels = np.repeat(np.arange(3), per_class)
    return Part(np.arange(len(labels)), pixels, labels)


def trunk(architecture: str = "mobilenet_v2", size: int = 64, mean: float = 0.5) -> Trunk:
    torch.manual_seed(1)
    return Trunk(architecture, Preparation(size, (mean,) * 3, (0.25,) * 3))


def read_weights(source: str, network: str) -> Weights | None:
    """What one source of ``weights=`` gives one network."""
    (weights,) = find_weights(source, [network], download_weights)
    return weights
