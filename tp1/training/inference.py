"""Run a model on images in evaluation mode."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F

from tp1.base.errors import TP1Error
from tp1.data.dataset import Part
from tp1.data.stored import CHUNK, ImageArray, Stored, row_bytes
from tp1.models.classifier import ImageModel
from tp1.training.batches import read_ahead
from tp1.training.evaluation import Evaluation
from tp1.training.ranks import ALONE, Ranks
from tp1.training.tta import views

EVALUATION_BATCH = 64  # at most, on a CPU
LEAST_BATCH = 8  # of fewer, dense layers read their weights too often
BATCH_PIXELS = 300_000  # their feature maps fit a CPU's cache, where MobileNetV2 takes two thirds of the time
ACCELERATOR_BATCH = 256  # keeps a GPU busy; MobileNetV2 at 224 pixels takes 5 GB in float32


def evaluation_batch(image_size: int) -> int:
    """How many images a CPU predicts at a time: 64 of up to 68 pixels, fewer of larger ones, 8 of 193 pixels or more.

    Args:
        image_size: Pixels per side that the network takes; 0: it takes features.
    """
    return max(LEAST_BATCH, min(EVALUATION_BATCH, BATCH_PIXELS // max(1, image_size) ** 2))


@torch.inference_mode()
def predict_logits(
    classifier: ImageModel, images: ImageArray | torch.Tensor, precision: str = "fp32", ranks: Ranks = ALONE
) -> torch.Tensor:
    """Compute the logits of all images in evaluation mode: N inputs -> float32 (N, classes) on the CPU.

    Args:
        images: In memory, on the classifier's device, or on disk.
        ranks: The processes that share the work; each gets the whole result.
    """
    device = classifier.device

    def compute(batch: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            return classifier.logits(batch)

    return _over_all(classifier, images, compute, ranks)


@torch.inference_mode()
def predict_views(classifier: ImageModel, images: ImageArray, tta: str, ranks: Ranks = ALONE) -> torch.Tensor:
    """Compute the mean probabilities over the views of all images: uint8 (N, H, W, 3) -> float32 (N, classes)."""

    def compute(batch: torch.Tensor) -> torch.Tensor:
        seen = [weight * classifier.logits(view).softmax(dim=1) for weight, view in views(batch, tta)]
        return torch.stack(seen).sum(dim=0)

    return _over_all(classifier, images, compute, ranks)


def _over_all(
    classifier: ImageModel,
    images: ImageArray | torch.Tensor,
    compute: Callable[[torch.Tensor], torch.Tensor],
    ranks: Ranks,
) -> torch.Tensor:
    """Compute batch after batch in evaluation mode; of several processes, each computes some of the same batches."""
    classifier.eval()
    device = classifier.device
    size = evaluation_batch(classifier.image_size) if device.type == "cpu" else ACCELERATOR_BATCH
    rows = [slice(size * share.start, size * share.stop) for share in ranks.shares(-(-len(images) // size))]
    parts = [compute(batch) for batch in _batches(_slice(images, rows[ranks.number]), size, device)]
    # At the end: each copy waits for the device.
    found = torch.cat(parts).cpu() if parts else torch.empty(0, len(classifier.classes))
    return ranks.gathered(found, [len(range(len(images))[one]) for one in rows])


def _slice(images: ImageArray | torch.Tensor, rows: slice) -> ImageArray | torch.Tensor:
    return images.taken(rows) if isinstance(images, Stored) else images[rows]


def evaluate(
    classifier: ImageModel, part: Part, classes: tuple[str, ...], tta: str = "none", ranks: Ranks = ALONE
) -> Evaluation:
    """Predict a part of the data in float32, as the served model does, and evaluate it.

    Args:
        classes: The data set's class names.
        tta: Test-time augmentation (:mod:`tp1.training.tta`), which the served model does not do.
        ranks: The processes that share the work; each gets the whole result.

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
        probabilities = predict_views(classifier, part.images, tta, ranks)
        loss = F.nll_loss(probabilities.clamp_min(1e-12).log(), torch.from_numpy(part.labels)).item()
        return Evaluation(classes, part.index, part.labels, probabilities.numpy(), loss)
    logits = predict_logits(classifier, part.images, ranks=ranks)
    loss = F.cross_entropy(logits, torch.from_numpy(part.labels)).item()
    return Evaluation(classes, part.index, part.labels, logits.softmax(dim=1).numpy(), loss)


def _batches(images: ImageArray | torch.Tensor, size: int, device: torch.device) -> Iterator[torch.Tensor]:
    if isinstance(images, Stored):
        rows = torch.arange(len(images)).split(size) if len(images) else ()
        together = max(1, CHUNK // (size * row_bytes(images)))
        for batch in read_ahead(images, rows, [together] * (len(rows) // together)):
            yield batch.to(device)
        return
    for part in torch.as_tensor(images).split(size) if len(images) else ():
        yield part.to(device)
