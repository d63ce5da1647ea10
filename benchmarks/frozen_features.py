"""Compare an epoch on cached features with one that runs the frozen network, alternating in one process.

    python benchmarks/frozen_features.py [--images 512] [--image-size 224] [--rounds 3]

Both train the same head with the same loop, validation included, on a sample of images. Images and weights are random,
because the time does not depend on them. The epochs exclude reading the cache, which a run does once. Measure on an
otherwise idle machine.
"""

import argparse
import statistics
import time

import numpy as np
import torch

from experiments.mobilenetv2_pretrained import experiment
from tp1.config import TrainConfig
from tp1.data.dataset import Part
from tp1.models.classifier import Preparation
from tp1.models.transfer import FeatureClassifier, build_transfer, join
from tp1.training.devices import choose_device, choose_precision, describe
from tp1.training.loop import start, train

EPOCHS = 25


def seconds(model, train_part, val_part, config, device) -> float:
    state = start(model, config, device)
    began = time.perf_counter()
    train(state, train_part, val_part, config)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    device = choose_device("auto")
    precision = choose_precision("auto", device)
    config = TrainConfig(epochs=1, precision=precision, dropout=experiment.config.dropout)
    generator = np.random.default_rng(0)

    def part(count: int) -> Part:
        pixels = generator.integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
        return Part(np.arange(count), pixels, generator.integers(0, 10, count))

    images, val_images = part(arguments.images), part(arguments.images // 7)  # EuroSAT has 18,900 to 2,700
    preparation = Preparation(arguments.image_size, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    whole = build_transfer(experiment.model, [preparation], tuple("0123456789"), config.dropout).to(device)

    def features(images: Part) -> Part:
        batches = torch.from_numpy(images.images).to(device).split(16)
        joined = torch.cat([join([trunk(batch) for trunk in whole.ordered_trunks], whole.side) for batch in batches])
        return Part(images.index, joined.cpu().numpy(), images.labels)

    began = time.perf_counter()
    kept, val_kept = features(images), features(val_images)
    once = time.perf_counter() - began
    print(
        f"{describe(device)}, {precision}, {arguments.images} images at {arguments.image_size} px; "
        f"features {once:.1f} s once"
    )
    print("round  trunk s  kept s  ratio")
    rows = []
    for number in range(arguments.rounds + 1):
        slow = seconds(whole, images, val_images, config, device)
        fast = seconds(FeatureClassifier(whole), kept, val_kept, config, device)
        if number:  # the first round warms up
            rows.append((slow, fast))
            print(f"{number:5d}  {slow:7.2f}  {fast:6.3f}  {slow / fast:5.0f}")
    slow, fast = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"an epoch, median of {len(rows)}: {slow / fast:.0f} times faster")
    print(
        f"{EPOCHS} epochs with the features computed first: {EPOCHS * slow / (once + EPOCHS * fast):.0f} times faster"
    )


if __name__ == "__main__":
    main()
