"""A stored model without training: it looks at the colour of the first pixel, so that it errs now and then."""

from pathlib import Path

import mlflow
import numpy as np
import torch
from torch import nn

from tests.conftest import log_classifier
from tp1.base.digests import DIGESTS_TAG, as_tag, file_digests
from tp1.data.dataset import ImageData
from tp1.models.classifier import Classifier, Preparation

CHANNEL = {"a": 0, "b": 1, "c": 2}  # the brightest channel of each class of coloured_images
FAVOURED = 0.401  # what is added to the value of class a: the others are then taken for it now and then


class FirstPixel(nn.Module):
    """float32 (N, 3, S, S), 0 to 1 -> logits (N, classes): the value of each class's channel in the first pixel."""

    def __init__(self, classes: str, sharpness: float) -> None:
        super().__init__()
        self.sharpness = sharpness
        weight = torch.tensor([[float(CHANNEL.get(name) == channel) for channel in range(3)] for name in classes])
        self.register_buffer("weight", weight)
        self.register_buffer("bias", torch.tensor([{"a": FAVOURED}.get(name, 0.0) for name in classes]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.sharpness * (images[:, :, 0, 0] @ self.weight.T + self.bias)


def colour_classifier(classes: str, sharpness: float = 4.0, side: int = 32) -> Classifier:
    return Classifier(FirstPixel(classes, sharpness), tuple(classes), Preparation(side, (0.0,) * 3, (1.0,) * 3))


def expected(images: np.ndarray, classes: str, sharpness: float = 4.0) -> np.ndarray:
    """The same in NumPy: uint8 (N, H, W, 3) -> probabilities (N, classes)."""
    logits = np.zeros((len(images), len(classes)))
    for number, name in enumerate(classes):
        if name in CHANNEL:
            logits[:, number] = images[:, 0, 0, CHANNEL[name]] / 255
        logits[:, number] += FAVOURED * (name == "a")
    powers = np.exp(sharpness * logits)
    return powers / powers.sum(axis=1, keepdims=True)


def files_of(model_id: str) -> Path:
    """Where a model lies in a store of the test's own."""
    return Path(mlflow.MlflowClient().get_logged_model(model_id).artifact_location.removeprefix("file://"))


def log_colour_model(
    data: ImageData, classes: str, sharpness: float = 4.0, side: int = 32, **tags: str
) -> tuple[str, str]:
    """Log such a model as if trained on ``data``; return the ids of its run and of itself."""
    with mlflow.start_run() as run:
        own = {"tp1.dataset": data.name, "tp1.data_digest": data.digest, "tp1.split_digest": data.split_digest}
        mlflow.set_tags(own | tags)
        info = log_classifier(colour_classifier(classes, sharpness, side), data.train.images, data.name, side)
        mlflow.set_tag(DIGESTS_TAG, as_tag(file_digests(files_of(info.model_id))))
    return run.info.run_id, info.model_id
