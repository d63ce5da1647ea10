"""An epoch as others train it: a plain PyTorch script with a DataLoader, and Lightning with its MLflow logger.

Both read images as torchvision's CIFAR-10 does: an array of uint8, one PIL image at a time, turned into a normalised
tensor by two worker processes. The networks are ours with torch's own layers.
"""

import copy
import logging
import time
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.frame import wait_for
from tp1.data.dataset import Part
from tp1.models.dropout import Dropout
from tp1.training.devices import choose_device

WORKERS = 2
GPU = torch.cuda.is_available()
MEAN, STD = (0.5,) * 3, (0.25,) * 3


class Images(Dataset[tuple[torch.Tensor, int]]):
    """The images of a part as PIL images through torchvision's transforms."""

    def __init__(self, part: Part, size: int) -> None:
        self.part = part
        steps = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
        self.transform = v2.Compose(([v2.Resize(size)] if size != part.images.shape[1] else []) + steps)

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.part.images[row])), int(self.part.labels[row])


def loaders(train: Part, val: Part, size: int, batch_size: int) -> tuple[DataLoader, DataLoader]:
    """The loaders of an epoch and of its validation."""
    return (
        DataLoader(Images(train, size), batch_size, shuffle=True, num_workers=WORKERS, drop_last=True, pin_memory=GPU),
        DataLoader(Images(val, size), batch_size, num_workers=WORKERS, pin_memory=GPU),
    )


def with_torchs_layers(net: nn.Module) -> nn.Module:
    """A copy of a network with torch's dropout in place of ours."""
    net = copy.deepcopy(net)
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, Dropout):
                setattr(module, name, nn.Dropout(child.p))
    return net


def plain_epoch(net: nn.Module, train: DataLoader, val: DataLoader, decay: float) -> float:
    """Train an epoch and validate, as in PyTorch's tutorials; return the seconds."""
    device = choose_device("auto")
    net.to(device)  # Lightning leaves it on the CPU
    optimizer = torch.optim.Adam([one for one in net.parameters() if one.requires_grad], weight_decay=decay)
    wait_for(device)
    began = time.perf_counter()
    net.train()
    total, correct = 0.0, 0
    for batch in train:
        images, labels = (tensor.to(device, non_blocking=True) for tensor in batch)
        optimizer.zero_grad()
        logits = net(images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
        correct += (logits.argmax(1) == labels).sum().item()
    net.eval()
    with torch.no_grad():
        for batch in val:
            images, labels = (tensor.to(device, non_blocking=True) for tensor in batch)
            correct += (net(images).argmax(1) == labels).sum().item()
    return time.perf_counter() - began


def lightning_epoch(
    net: nn.Module, train: DataLoader, val: DataLoader, decay: float, precision: str, folder: Path
) -> float:
    """Train an epoch and validate with Lightning and its MLflow logger; return the seconds, without its start."""
    import lightning
    from lightning.pytorch.loggers import MLFlowLogger

    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def step(self, batch: tuple[torch.Tensor, torch.Tensor], part: str) -> torch.Tensor:
            images, labels = batch
            logits = self.net(images)
            loss = F.cross_entropy(logits, labels)
            accuracy = (logits.argmax(1) == labels).float().mean()
            self.log_dict({f"{part}/loss": loss, f"{part}/accuracy": accuracy}, on_step=False, on_epoch=True)
            return loss

        def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
            return self.step(batch, "train")

        def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> None:
            self.step(batch, "val")

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam([one for one in self.parameters() if one.requires_grad], weight_decay=decay)

    class Clock(lightning.Callback):
        seconds = 0.0

        def on_train_start(self, *_: object) -> None:
            self.began = time.perf_counter()

        def on_train_end(self, *_: object) -> None:
            wait_for(choose_device("auto"))
            self.seconds = time.perf_counter() - self.began

    clock = Clock()
    trainer = lightning.Trainer(
        max_epochs=1,
        devices=1,
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        logger=MLFlowLogger("bench", tracking_uri=f"sqlite:///{folder}/lightning.db"),
        callbacks=[clock],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    trainer.fit(Module(), train, val)
    return clock.seconds
