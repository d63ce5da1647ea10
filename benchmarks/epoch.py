"""Compare an epoch of cnnv3 with a bare training loop over prepared tensors, alternating in one process.

    python benchmarks/epoch.py [--images 12800] [--rounds 7]

The bare loop has the same model and its images in memory: normalised, float32, channels last. It only does forward,
loss, backward and step. The ratio shows the cost of our data path, metrics and validation. Pixels are random, because
the time does not depend on them. Measure on an otherwise idle machine.
"""

import argparse
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F

from experiments.cnnv3 import experiment
from tp1.config import TrainConfig
from tp1.data.dataset import Part
from tp1.models.classifier import Classifier, Preparation
from tp1.recipe import Adam
from tp1.training.devices import choose_device, choose_precision, describe
from tp1.training.loop import start, train


def random_part(count: int) -> Part:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return Part(np.arange(count), pixels, generator.integers(0, 10, count))


def new_state(config, device):
    torch.manual_seed(0)
    net = experiment.model(10, 32, config.dropout)
    classifier = Classifier(net, tuple("0123456789"), Preparation(32, (0.5,) * 3, (0.25,) * 3))
    return start(classifier, config, device)


def ours(state, part, val, config) -> float:
    began = time.perf_counter()
    state.history.clear()
    state.best = None
    train(state, part, val, config)
    state.classifier.to(memory_format=torch.channels_last)
    return time.perf_counter() - began


def bare(state, images, labels, batch_size, precision) -> float:
    net, optimizer, device = state.classifier.net, state.optimizer, images.device
    net.train()
    began = time.perf_counter()
    for rows in torch.randperm(len(labels), device=device).split(batch_size):
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits = net(images[rows])
        loss = F.cross_entropy(logits.float(), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=12_800)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    device = choose_device("auto")
    precision = choose_precision("auto", device)
    config = TrainConfig(
        epochs=1, precision=precision, dropout=experiment.config.dropout, optimizer=Adam(weight_decay=1e-4)
    )
    part, val = random_part(arguments.images), random_part(arguments.images // 9)  # CIFAR-10 has 45,000 to 5,000
    mine, other = new_state(config, device), new_state(config, device)
    with torch.no_grad():
        ready = mine.classifier.preparation(torch.from_numpy(part.images).to(device))
    labels = torch.from_numpy(part.labels).to(device)

    print(f"{describe(device)}, {precision}, {arguments.images} images, batch {config.batch_size}")
    print("round  ours s  bare s  ratio")
    ratios = []
    for number in range(arguments.rounds + 1):
        a = ours(mine, part, val, config)
        b = bare(other, ready, labels, config.batch_size, precision)
        if number:  # the first round warms up
            ratios.append(a / b)
            print(f"{number:5d}  {a:6.2f}  {b:6.2f}  {a / b:.3f}")
    print(f"median ratio {statistics.median(ratios):.3f} (n = {len(ratios)}, {min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
