"""The training loop: the report's, in plain PyTorch. It knows neither MLflow nor a command line."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from tp1.augment import flip_crop
from tp1.classifier import ImageModel
from tp1.config import TrainConfig
from tp1.data import Part
from tp1.errors import TP1Error
from tp1.evaluation import predict_logits
from tp1.progress import progress_bar


@dataclass(frozen=True)
class Epoch:
    """What one epoch measured.

    Training figures are means over the epoch while the weights move, with dropout and augmentation;
    validation figures are taken at its end. Losses are mean cross entropy in nats, accuracies 0 to 1.
    """

    number: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    images_per_second: float


@dataclass
class TrainingState:
    """All that changes while training goes on, but for torch's own generator, from which dropout draws."""

    classifier: ImageModel
    optimizer: torch.optim.Optimizer
    generator: torch.Generator  # draws the order of the images and their augmentation
    history: list[Epoch] = field(default_factory=list)
    best: Epoch | None = None
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)


def start(classifier: ImageModel, config: TrainConfig, device: torch.device) -> TrainingState:
    """The state before the first step, with Adam as in the report (sections 1.3 and 1.5)."""
    # Channels last is the layout that images arrive in and that bf16 convolutions are fastest in.
    classifier.to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(
        [parameter for parameter in classifier.parameters() if parameter.requires_grad],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,
    )
    return TrainingState(classifier, optimizer, torch.Generator().manual_seed(config.seed))


def train(
    state: TrainingState,
    train_part: Part,
    val_part: Part,
    config: TrainConfig,
    precision: str,
    on_epoch: Callable[[Epoch], None],
) -> None:
    """Train for ``config.epochs`` epochs; leave the weights of the best validation epoch in place.

    Best is the highest validation accuracy, the earlier one if two are equal. ``on_epoch`` is called after each
    epoch, for tracking.

    Args:
        precision: ``fp32`` or ``bf16``.

    Raises:
        TP1Error: The loss is no longer finite, or a batch is larger than the training images.
    """
    if config.batch_size > len(train_part):
        raise TP1Error(f"batch_size={config.batch_size} is larger than the {len(train_part)} training images.")
    images, labels = torch.from_numpy(train_part.images), torch.from_numpy(train_part.labels)
    with progress_bar(config.epochs * len(labels), "Training") as bar:
        for number in range(len(state.history) + 1, config.epochs + 1):
            began = time.perf_counter()
            loss, accuracy = _train_epoch(state, images, labels, config, precision, number, bar.update)
            seconds = time.perf_counter() - began
            val_logits = predict_logits(state.classifier, val_part.images, precision)
            val_labels = torch.from_numpy(val_part.labels)
            val_loss = F.cross_entropy(val_logits, val_labels).item()
            # The last step of an epoch can ruin the weights after its own loss was still finite.
            _check_finite(val_loss, f"the validation loss became {val_loss:g} after epoch {number}", config)
            epoch = Epoch(
                number=number,
                train_loss=loss,
                train_accuracy=accuracy,
                val_loss=val_loss,
                val_accuracy=(val_logits.argmax(1) == val_labels).sum().item() / len(val_labels),
                images_per_second=len(labels) / seconds,
            )
            state.history.append(epoch)
            if state.best is None or epoch.val_accuracy > state.best.val_accuracy:
                state.best = epoch
                state.best_weights = copy.deepcopy(state.classifier.state_dict())
            bar.set_postfix_str(f"epoch {number}/{config.epochs}, validation {epoch.val_accuracy:.4f}")
            on_epoch(epoch)
    state.classifier.load_state_dict(state.best_weights)
    # The plain layout from here on: what is evaluated is then bit for bit what is exported.
    state.classifier.to(memory_format=torch.contiguous_format)


def _train_epoch(
    state: TrainingState,
    images: torch.Tensor,
    labels: torch.Tensor,
    config: TrainConfig,
    precision: str,
    number: int,
    advance: Callable[[int], object],
) -> tuple[float, float]:
    classifier, optimizer = state.classifier, state.optimizer
    device = classifier.device
    # Reading a number back from an accelerator waits for it, so there the check comes every 50 steps.
    check_every = 1 if device.type == "cpu" else 50
    total_loss = torch.zeros((), device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    classifier.train()
    order = torch.randperm(len(labels), generator=state.generator)
    batches = list(order.split(config.batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:  # batch norm has no variance of one image
        batches[-2:] = [torch.cat(batches[-2:])]
    for step, rows in enumerate(batches, start=1):
        batch = images[rows]
        if config.augment == "flip-crop":
            batch = flip_crop(batch, state.generator)
        batch, target = batch.to(device, non_blocking=True), labels[rows].to(device, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits = classifier.logits(batch)
        loss = F.cross_entropy(logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total_loss += loss.detach() * len(rows)
        correct += (logits.detach().argmax(1) == target).sum()
        if step % check_every == 0 or step == len(batches):
            total = total_loss.item()
            _check_finite(total, f"the training loss became {total:g} in epoch {number}, by step {step}", config)
        advance(len(rows))
    return total_loss.item() / len(labels), correct.item() / len(labels)


def _check_finite(loss: float, what: str, config: TrainConfig) -> None:
    if not math.isfinite(loss):
        raise TP1Error(f"{what}: training stopped. Try a smaller learning_rate (it was {config.learning_rate:g}).")
