"""An epoch, validation included: this project, a bare loop that only computes, and peers.

It runs on a GPU where there is one, but no figures were taken on one so far.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.frame import Table, take_turns, wait_for
from benchmarks.peers import MEAN, STD, lightning_epoch, loaders, plain_epoch, with_torchs_layers
from experiments.cnn_base import experiment as cnn_base
from experiments.cnnv3 import experiment as cnnv3
from experiments.mobilenetv2_pretrained import experiment as frozen
from tp1.config import TrainConfig
from tp1.data.dataset import Part
from tp1.experiment import Experiment, Transfer
from tp1.models.classifier import Classifier, Preparation
from tp1.models.transfer import FeatureClassifier, TransferClassifier, build_transfer, join
from tp1.training.devices import choose_device, choose_precision
from tp1.training.loop import TrainingState, start, train

CLASSES = tuple("0123456789")
CIFAR10, EUROSAT = (45_000, 5_000), (18_900, 2_700)  # training and validation images


def random_part(count: int, side: int = 32) -> Part:
    """Random pixels: the time does not depend on them."""
    generator = np.random.default_rng(count)
    pixels = generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return Part(np.arange(count), pixels, generator.integers(0, 10, count))


def new_classifier(experiment: Experiment, config: TrainConfig) -> Classifier:
    """The experiment's model, untrained."""
    assert not isinstance(experiment.model, Transfer)
    torch.manual_seed(0)
    return Classifier(experiment.model(10, 32, config.dropout), CLASSES, Preparation(32, MEAN, STD))


def own_epoch(state: TrainingState, part: Part, val: Part, config: TrainConfig) -> float:
    """An epoch of the project's loop; return the seconds. On a GPU, they include copying the images to it."""
    device = state.classifier.device
    wait_for(device)
    began = time.perf_counter()
    state.history.clear()
    state.best = None
    train(state, part, val, config)
    state.classifier.to(memory_format=torch.channels_last)
    wait_for(device)
    return time.perf_counter() - began


def bare_epoch(
    state: TrainingState,
    net: nn.Module,
    images: tuple[torch.Tensor, torch.Tensor],
    labels: tuple[torch.Tensor, torch.Tensor],
    config: TrainConfig,
) -> float:
    """Forward, loss, backward, step and validation over prepared tensors, nothing else; return the seconds."""
    wait_for(images[0].device)
    began = time.perf_counter()
    context = partial(torch.autocast, images[0].device.type, torch.bfloat16, enabled=config.precision == "bf16")
    net.train()
    for rows in torch.randperm(len(labels[0]), device=images[0].device).split(config.batch_size):
        with context():
            logits = net(images[0][rows])
        loss = F.cross_entropy(logits.float(), labels[0][rows])
        state.optimizers.zero_grad()
        loss.backward()
        state.optimizers.step()
    net.eval()
    with torch.inference_mode(), context():
        for batch in images[1].split(config.batch_size):
            net(batch)
    wait_for(images[0].device)
    return time.perf_counter() - began


def floor(experiment: Experiment, rounds: int) -> Table:
    """Compare an epoch with a bare loop that only computes, in many short rounds: they differ by a few hundredths."""
    device = choose_device("auto")
    config = experiment.config.changed(epochs=1, precision=choose_precision("auto", device))
    part, val = (random_part(count // 15) for count in CIFAR10)
    mine, other = (start(new_classifier(experiment, config), config, device) for _ in range(2))
    assert isinstance(other.classifier, Classifier)
    net = other.classifier.net
    with torch.no_grad():
        ready = tuple(other.classifier.preparation(torch.from_numpy(one.images).to(device)) for one in (part, val))
    labels = tuple(torch.from_numpy(one.labels).to(device) for one in (part, val))
    ways: dict[str, Callable[[], float | None]] = {
        "this project": lambda: own_epoch(mine, part, val, config),
        "bare loop": lambda: bare_epoch(other, net, ready, labels, config),
    }
    about = (
        f"{len(part):,} training and {len(val):,} validation images, in {config.precision}, {rounds} rounds. The bare "
        "loop computes forward, loss, backward and step on images that are ready, and nothing else. "
        "Ratio: to this project, of the same round."
    )
    return Table(f"{experiment.name} and the bare loop", "s", about, take_turns(ways, rounds))


def epochs(experiment: Experiment, share: float, rounds: int, folder: Path) -> Table:
    """Compare an epoch of a network for CIFAR-10 with how others train it."""
    device = choose_device("auto")
    config = experiment.config.changed(epochs=1, precision=choose_precision("auto", device))
    part, val = (random_part(round(share * count)) for count in CIFAR10)
    mine = start(new_classifier(experiment, config), config, device)
    decay = config.optimizer.weight_decay
    ways: dict[str, Callable[[], float | None]] = {"this project": lambda: own_epoch(mine, part, val, config)}
    net = with_torchs_layers(new_classifier(experiment, config).net).to(device)
    ways["DataLoader script"] = lambda: plain_epoch(net, *loaders(part, val, 32, config.batch_size), decay)
    for name, kind in (("Lightning, float32", "fp32"), ("Lightning, bfloat16", "bf16")):
        ways[name] = partial(_lightning, net, part, val, config.batch_size, decay, kind, folder)
    about = (
        f"{len(part):,} training and {len(val):,} validation images ({share:.0%} of CIFAR-10's), batches of "
        f"{config.batch_size}; this project in {config.precision}. Ratio: to this project, of the same round."
    )
    return Table(f"An epoch of {experiment.name}", "s", about, take_turns(ways, rounds))


def frozen_epochs(share: float, rounds: int) -> Table:
    """Compare an epoch of a frozen network: on kept features, and through the network for each batch."""
    device = choose_device("auto")
    config = frozen.config.changed(epochs=1, precision=choose_precision("auto", device))
    side = config.image_size or 224
    part, val = (random_part(max(round(share * count), 2 * config.batch_size), 64) for count in EUROSAT)
    assert isinstance(frozen.model, Transfer)
    whole = build_transfer(frozen.model, [Preparation(side, MEAN, STD)], CLASSES, config.dropout).to(device)
    kept = _features(whole, part, device), _features(whole, val, device)
    net = nn.Sequential(whole.ordered_trunks[0].features, nn.AdaptiveAvgPool2d(1), with_torchs_layers(whole.head))
    ways: dict[str, Callable[[], float | None]] = {
        "this project": lambda: own_epoch(start(FeatureClassifier(whole), config, device), *kept, config),
        "DataLoader script": lambda: plain_epoch(net, *loaders(part, val, side, config.batch_size), 0.0),
    }
    about = (
        f"{len(part):,} training and {len(val):,} validation images of {side} pixels. The features, which this project "
        "computes once for all epochs and experiments, are not counted."
    )
    return Table(f"An epoch of {frozen.name}", "s", about, take_turns(ways, rounds))


def tables(share: float, rounds: int, folder: Path) -> list[Table]:
    """All comparisons of epochs."""
    return [
        *(floor(experiment, 8 * rounds) for experiment in (cnn_base, cnnv3)),
        *(epochs(experiment, share, rounds, folder) for experiment in (cnn_base, cnnv3)),
        frozen_epochs(share / 10, rounds),
    ]


def _lightning(
    net: nn.Module, part: Part, val: Part, batch_size: int, decay: float, precision: str, folder: Path
) -> float:
    return lightning_epoch(net, *loaders(part, val, 32, batch_size), decay, precision, folder)


def _features(whole: TransferClassifier, images: Part, device: torch.device) -> Part:
    batches = torch.from_numpy(images.images).to(device).split(16)
    trunks = [trunk.folded() for trunk in whole.ordered_trunks]
    joined = torch.cat([join([trunk(batch) for trunk in trunks], whole.side) for batch in batches])
    return Part(images.index, joined.cpu().numpy(), images.labels)
