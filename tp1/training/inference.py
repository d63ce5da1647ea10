"""Run a model on images in evaluation mode."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from tp1.base.errors import TP1Error
from tp1.data.dataset import Part
from tp1.data.stored import CHUNK, ImageArray, Stored, row_bytes
from tp1.models.classifier import ImageModel
from tp1.training.batches import read_ahead
from tp1.training.evaluation import Evaluation
from tp1.training.tta import views

EVALUATION_BATCH = 64  # fits the CPU cache, where it is fastest; images of 224 pixels fit in memory
ACCELERATOR_BATCH = 256  # keeps a GPU busy; MobileNetV2 at 224 pixels takes 5 GB in float32


@torch.inference_mode()
def predict_logits(classifier: ImageModel, images: ImageArray | torch.Tensor, precision: str = "fp32") -> torch.Tensor:
    """Compute the logits of all images in evaluation mode: N inputs -> float32 (N, classes) on the CPU.

    Args:
        images: In memory, on the classifier's device, or on disk.
    """
    classifier.eval()
    device = classifier.device
    parts = []
    for batch in _batches(images, device):
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            parts.append(classifier.logits(batch))
    return torch.cat(parts).cpu()  # at the end: each copy waits for the device


@torch.inference_mode()
def predict_views(classifier: ImageModel, images: ImageArray, tta: str) -> torch.Tensor:
    """Compute the mean probabilities over the views of all images: uint8 (N, H, W, 3) -> float32 (N, classes)."""
    classifier.eval()
    parts = []
    for batch in _batches(images, classifier.device):
        seen = [weight * classifier.logits(view).softmax(dim=1) for weight, view in views(batch, tta)]
        parts.append(torch.stack(seen).sum(dim=0))
    return torch.cat(parts).cpu()


def evaluate(classifier: ImageModel, part: Part, classes: tuple[str, ...], tta: str = "none") -> Evaluation:
    """Predict a part of the data in float32, as the served model does, and evaluate it.

    Args:
        classes: The data set's class names.
        tta: Test-time augmentation (:mod:`tp1.training.tta`), which the served model does not do.

    Raises:
        TP1Error: The classifier and the data set have different class names, or in different order.
    """
    if classifier.classes != classes:
        odd = sorted(set(classifier.classes) ^ set(classes))
        raise TP1Error(
            f"the model and the data set have different classes: only one of them has {odd or 'this order'}. "
            f"The model knows {list(classifier.classes)}."
        )
    if tta != "none":
        probabilities = predict_views(classifier, part.images, tta)
        loss = F.nll_loss(probabilities.clamp_min(1e-12).log(), torch.from_numpy(part.labels)).item()
        return Evaluation(classes, part.index, part.labels, probabilities.numpy(), loss)
    logits = predict_logits(classifier, part.images)
    loss = F.cross_entropy(logits, torch.from_numpy(part.labels)).item()
    return Evaluation(classes, part.index, part.labels, logits.softmax(dim=1).numpy(), loss)


def _batches(images: ImageArray | torch.Tensor, device: torch.device) -> Iterator[torch.Tensor]:
    size = EVALUATION_BATCH if device.type == "cpu" else ACCELERATOR_BATCH
    if isinstance(images, Stored):
        rows = torch.arange(len(images)).split(size)
        together = max(1, CHUNK // (size * row_bytes(images)))
        for batch in read_ahead(images, rows, [together] * (len(rows) // together)):
            yield batch.to(device)
        return
    for part in torch.as_tensor(images).split(size):
        yield part.to(device)
