"""The report's training loop, in plain PyTorch, independent of MLflow and the command line."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F

from tp1.base.errors import TP1Error, why
from tp1.base.progress import progress_bar
from tp1.config import TrainConfig
from tp1.data.augment import draw
from tp1.data.dataset import Part
from tp1.models.classifier import ImageModel
from tp1.recipe import step_size
from tp1.training.averaging import RunningMean
from tp1.training.batches import Images, feed, opened, place
from tp1.training.compilation import compiling, training_pass
from tp1.training.inference import predict_logits
from tp1.training.optimizers import Optimizers, make_optimizers
from tp1.training.orders import Blockwise, draw_order
from tp1.training.ranks import ALONE, Ranks


class DivergedError(TP1Error):
    """The loss is no longer finite: the parameters are bad, and training again would end alike."""


@dataclass(frozen=True)
class Epoch:
    """The metrics of one epoch.

    Training figures are means over the epoch, while the weights change, with dropout and augmentation;
    validation figures are taken at its end. Losses are mean cross entropy in nats, accuracies 0 to 1. With
    ``class_weights=balanced`` or smoothed labels, the training loss is that one; the validation loss never is.
    """

    number: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    images_per_second: float
    ended: int  # milliseconds since 1970, UTC: timestamp of its metrics, also when they are sent again


@dataclass
class EpochUnderWay:
    """The progress of an unfinished epoch.

    Attributes:
        order: (N,) indices of the training images, in the order of training.
        step: Number of batches done.
        loss, correct: Sums over the images so far, on the classifier's device.
        seconds: Training time so far, without interruptions.
    """

    order: torch.Tensor
    step: int
    loss: torch.Tensor
    correct: torch.Tensor
    seconds: float = 0.0


@dataclass
class TrainingState:
    """Everything that changes during training, except torch's global generator, which dropout uses.

    Attributes:
        generator: Draws the order of the images and their augmentation.
        average: The running mean of the classifier's weights; None without averaging.
        blockwise: The kind of order that the images are taken in; None: any order at all.
    """

    classifier: ImageModel
    optimizers: Optimizers
    generator: torch.Generator
    average: RunningMean | None = None
    blockwise: Blockwise | None = None
    history: list[Epoch] = field(default_factory=list)
    best: Epoch | None = None
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    under_way: EpochUnderWay | None = None

    @property
    def evaluated(self) -> ImageModel:
        """The classifier as it is evaluated and kept: with the mean of its weights, where there is one."""
        if self.average is None:
            return self.classifier
        assert isinstance(self.average.module, ImageModel)
        return self.average.module


@dataclass(frozen=True)
class Hooks:
    """Callbacks of the training loop.

    Attributes:
        on_epoch: Called after each epoch.
        keep: Called to save the state: after each epoch, before ``on_epoch``, and when training stops within an epoch.
        keep_every: ``keep`` is also called whenever this many seconds have passed within an epoch.
        stopped: Called before each epoch and after each batch; training stops if it returns True.
    """

    on_epoch: Callable[[Epoch], None] = lambda epoch: None
    keep: Callable[[], None] = lambda: None
    keep_every: float = math.inf
    stopped: Callable[[], bool] = lambda: False


def start(
    classifier: ImageModel, config: TrainConfig, device: torch.device, blockwise: Blockwise | None = None
) -> TrainingState:
    """Return the state before the first step.

    Args:
        blockwise: The order that the images are taken in, where these are read from disk.
    """
    # Images arrive in the channels-last layout, in which bf16 convolutions are fastest.
    classifier.to(device).to(memory_format=torch.channels_last)
    average = RunningMean(classifier, config.averaging) if config.averaging else None
    generator = torch.Generator().manual_seed(config.seed)
    optimizers = make_optimizers(config.optimizer, classifier, config.precision)
    return TrainingState(classifier, optimizers, generator, average, blockwise)


def train(
    state: TrainingState,
    train_part: Part,
    val_part: Part,
    config: TrainConfig,
    hooks: Hooks = Hooks(),
    ranks: Ranks = ALONE,
) -> bool:
    """Train until ``config.epochs`` epochs are done, then load the weights of the best epoch.

    The best epoch has the highest validation accuracy; of equal ones, it is the earliest.

    Args:
        config: Its precision must be ``fp32`` or ``bf16``, not ``auto``.
        ranks: The processes that train together. All call this with the same state, and all do what the hooks of any
            of them say. When ``keep`` is called, the first one's state is that of the whole training.

    Returns:
        Whether all epochs are done. If training was stopped, ``state`` is ready to be resumed.

    Raises:
        DivergedError: The loss is no longer finite.
        TP1Error: torch cannot compile the network.
        ValueError: The precision is ``auto``.
    """
    if config.precision == "auto":
        raise ValueError("precision is auto: choose_precision says what that is on a device")
    device = state.classifier.device
    images, val_images = (place(opened(part.images), device) for part in (train_part, val_part))
    labels, val_labels = torch.from_numpy(train_part.labels), torch.from_numpy(val_part.labels)
    weights, shares = None, ImageShares(ranks, torch.ones(len(labels)))
    if config.class_weights == "balanced":
        of_classes = balanced_weights(labels, len(state.classifier.classes))
        weights, shares = of_classes.to(device), ImageShares(ranks, of_classes[labels])
    labels = labels.to(device)
    size = len(ranks.share(min(config.batch_size, len(labels))))
    compute = ranks.parallel(state.classifier, training_pass(state.classifier, config.compile, size))
    done = len(state.history) * len(labels)
    with progress_bar(config.epochs * len(labels), "Training", initial=done) as bar:
        while (number := len(state.history) + 1) <= config.epochs:
            (stop,) = ranks.summed(hooks.stopped())
            if stop:
                return False
            state.under_way = state.under_way or _begin_epoch(state, len(labels))
            with compiling(config.compile):
                if not _train_epoch(state, compute, images, labels, weights, shares, config, hooks, bar.update):
                    return False
            finished = state.under_way
            loss, correct = ranks.summed(finished.loss.item(), finished.correct.item())
            ranks.even(state.evaluated)
            val_logits = predict_logits(state.evaluated, val_images, config.precision, ranks)
            val_loss = F.cross_entropy(val_logits, val_labels).item()
            # The last step of an epoch can ruin the weights although its own loss was still finite.
            _check_finite(val_loss, f"the validation loss became {val_loss:g} after epoch {number}", config)
            epoch = Epoch(
                number=number,
                train_loss=loss / len(labels),
                train_accuracy=correct / len(labels),
                val_loss=val_loss,
                val_accuracy=(val_logits.argmax(1) == val_labels).sum().item() / len(val_labels),
                images_per_second=len(labels) / finished.seconds,
                ended=round(time.time() * 1000),
            )
            state.history.append(epoch)
            state.under_way = None
            if state.best is None or epoch.val_accuracy > state.best.val_accuracy:
                state.best = epoch
                state.best_weights = copy.deepcopy(state.evaluated.state_dict())
            bar.set_postfix_str(f"epoch {number}/{config.epochs}, validation {epoch.val_accuracy:.4f}")
            hooks.keep()  # before on_epoch, so that tracked metrics are never ahead of the checkpoint
            hooks.on_epoch(epoch)
    state.classifier.load_state_dict(state.best_weights)
    # Contiguous from here on, so that the evaluated model is bit for bit the exported one.
    state.classifier.to(memory_format=torch.contiguous_format)
    return True


def balanced_weights(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Return the weight of each class in the loss, float32 (classes,): N / (classes * its images), as scikit-learn's.

    Args:
        labels: (N,) class numbers; each class has images.
    """
    return len(labels) / (classes * torch.bincount(labels, minlength=classes).float())


@dataclass(frozen=True)
class ImageShares:
    """What a process's images count for in the loss of a batch.

    Attributes:
        weights: (N,) weight of each training image in the loss.
    """

    ranks: Ranks
    weights: torch.Tensor

    def of(self, rows: torch.Tensor) -> float:
        """This process's share of the weights of a batch, 0 to 1."""
        if self.ranks.count == 1:
            return 1.0
        weights, own = self.weights[rows].double(), self.ranks.share(len(rows))
        return (weights[own.start : own.stop].sum() / weights.sum()).item()


def _begin_epoch(state: TrainingState, count: int) -> EpochUnderWay:
    device = state.classifier.device
    return EpochUnderWay(
        order=draw_order(state.blockwise, count, state.generator),
        step=0,
        loss=torch.zeros((), device=device),
        correct=torch.zeros((), dtype=torch.int64, device=device),
    )


def _train_epoch(
    state: TrainingState,
    compute: Callable[[torch.Tensor], torch.Tensor],
    images: Images,
    labels: torch.Tensor,
    weights: torch.Tensor | None,
    shares: "ImageShares",
    config: TrainConfig,
    hooks: Hooks,
    advance: Callable[[int], object],
) -> bool:
    """Finish the current epoch; return False if training was stopped before its end.

    Args:
        compute: The classifier's logits of a batch, perhaps compiled, perhaps with the gradients of several processes.
        images, labels: See :func:`~tp1.training.batches.feed`.
        weights: Of the classes in the loss.
        shares: What each process's images count for.
    """
    epoch = state.under_way
    assert epoch is not None
    classifier, optimizers, ranks = state.classifier, state.optimizers, shares.ranks
    device, number = classifier.device, len(state.history) + 1
    # Reading a number from an accelerator synchronises with it, so there the check comes only every 50 steps.
    check_every = 1 if device.type == "cpu" else 50
    classifier.train()
    batches = list(epoch.order.split(config.batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:  # batch norm cannot compute a variance from one image
        batches[-2:] = [torch.cat(batches[-2:])]
    advance(sum(map(len, batches[: epoch.step])))
    done, steps = len(state.history) * len(batches), config.epochs * len(batches)
    began = kept = time.perf_counter()
    before = epoch.seconds
    size = (images.shape[1], images.shape[2])
    draws = partial(draw, config.transforms, size, epoch=number, generator=state.generator)
    at_once = state.blockwise.read_at_once(config.batch_size, epoch.step, len(batches)) if state.blockwise else ()
    feeding = feed(images, labels, batches[epoch.step :], draws, device, at_once, ranks)
    for rows, (batch, target) in zip(batches[epoch.step :], feeding, strict=True):
        optimizers.zero_grad()  # first: gradients of a CUDA graph lie in memory that its next forward pass uses
        ranks.seed_dropout(config.seed, number, epoch.step)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            try:
                logits = compute(batch)
            except ValueError as error:
                if len(batch) > 1:
                    raise
                raise TP1Error(
                    f"the network cannot train on a batch of one image ({why(error)}): batch norm takes its variance "
                    "from all pixels of a batch. Choose batch_size=2 or more, or a larger image_size."
                ) from error
        if len(target) < len(batch):  # a share that is filled up
            logits = logits[: len(target)]
        loss = F.cross_entropy(logits, target, weights, label_smoothing=config.label_smoothing)
        if not len(target):  # the mean of nothing is no number
            loss = logits.sum()
        share = shares.of(rows)
        optimizers.scale(step_size(config.schedule, done + epoch.step, steps))
        (loss * (share * ranks.count)).backward()  # of several processes' gradients, the mean is taken
        optimizers.step()
        if state.average is not None:
            state.average.update_parameters(classifier)
        epoch.loss += loss.detach() * (share * len(rows))
        epoch.correct += (logits.detach().argmax(1) == target).sum()
        epoch.step += 1
        last = epoch.step == len(batches)
        checked = epoch.step % check_every == 0 or last
        local = epoch.loss.item() if checked else 0.0
        advance(len(rows))
        now = time.perf_counter()
        epoch.seconds = before + now - began
        stop, keep, total = ranks.summed(
            hooks.stopped() and not last, now - kept >= hooks.keep_every and not last, local
        )
        _check_finite(total, f"the training loss became {total:g} in epoch {number}, by step {epoch.step}", config)
        if stop or keep:
            ranks.pool(epoch.loss, epoch.correct)
            hooks.keep()
            kept = time.perf_counter()
        if stop:
            return False
    return True


def _check_finite(loss: float, what: str, config: TrainConfig) -> None:
    if not math.isfinite(loss):
        raise DivergedError(
            f"{what}: training stopped. Try a smaller learning_rate (it was {config.optimizer.learning_rate:g})."
        )
