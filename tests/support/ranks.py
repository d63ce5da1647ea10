"""Trainings that several processes compute together, as ``torchrun`` would start them."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import multiprocessing, nn

from tp1.config import TrainConfig
from tp1.data.dataset import Part
from tp1.models.classifier import Classifier, Preparation
from tp1.training.checkpoints import Checkpoints, share_state
from tp1.training.loop import Hooks, TrainingState, start, train
from tp1.training.orders import Blockwise
from tp1.training.ranks import ALONE, Ranks, joined

CONFIG = TrainConfig(epochs=2, batch_size=16, precision="fp32")


@dataclass(frozen=True)
class Case:
    """A training: its configuration, and how many images of each class it has."""

    name: str
    config: TrainConfig
    per_class: int = 40
    stop_after: int | None = None  # steps
    dropout: float = 0.0
    blockwise: Blockwise | None = None
    tolerance: float = 1.0  # of rounding, beside that of the others


def images(case: Case) -> Part:
    return _part([case.per_class - 20, case.per_class, case.per_class], seed=1)


def _part(counts: list[int], seed: int) -> Part:
    """Noise around a colour for each class. Not conftest's: its imports would take each process seconds."""
    labels = np.repeat(np.arange(len(counts)), counts)
    noise = np.random.default_rng(seed).normal(0, 60, (len(labels), 32, 32, 3))
    pixels = np.clip(90 + 60 * np.eye(3)[labels][:, None, None] + noise, 0, 255).astype(np.uint8)
    return Part(np.arange(len(labels)), pixels, labels)


VAL = _part([40, 40, 40], seed=2)


def begun(case: Case) -> TrainingState:
    torch.manual_seed(case.config.seed)
    net = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Dropout(case.dropout), nn.Linear(8 * 8 * 8, 3))
    )
    classifier = Classifier(net, tuple("abc"), Preparation(32, (0.5,) * 3, (0.25,) * 3))
    return start(classifier, case.config, torch.device("cpu"), case.blockwise)


def trained(case: Case, folder: Path, ranks: Ranks = ALONE) -> TrainingState:
    """Train, or go on from what is in ``folder``, where the checkpoints are kept."""
    state = begun(case)
    checkpoints = Checkpoints(folder / case.name)
    if ranks.leads:
        checkpoints.restore(state)
    share_state(state, ranks)
    left = iter(range(case.stop_after or 10**9))
    hooks = Hooks()
    if ranks.leads:
        hooks = Hooks(keep=lambda: checkpoints.save(state), stopped=lambda: next(left, None) is None)
    train(state, images(case), VAL, case.config, hooks, ranks)
    return state


def result(state: TrainingState) -> dict:
    history = [(epoch.train_loss, epoch.train_accuracy, epoch.val_loss, epoch.val_accuracy) for epoch in state.history]
    step = None if state.under_way is None else state.under_way.step
    return {"history": history, "state": state.classifier.state_dict(), "step": step}


def compute(cases: list[Case], folder: Path, count: int) -> list[list[dict]]:
    """Train all cases in ``count`` processes; what each process has found, by case."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(_work, (cases, folder, count, port), nprocs=count)
    found = [torch.load(folder / f"{number}-of-{count}.pt") for number in range(count)]
    return [[of_rank[place] for of_rank in found] for place in range(len(cases))]


def _work(number: int, cases: list[Case], folder: Path, count: int, port: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(count)}
    os.environ |= {"LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with joined() as ranks:
        found = [result(trained(case, folder, ranks)) for case in cases]
    torch.save(found, folder / f"{number}-of-{count}.pt")
