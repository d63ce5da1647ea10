"""Exploration of a data set (report section 1.1, figures 1, 2 and 10): compute it, write it to files, read it back."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tp1.data.dataset import ImageData, Part
from tp1.report.figure_files import plain_png
from tp1.report.figures import sample_images
from tp1.report.run_figures import distribution_figure, read_distribution

SAMPLES_PER_CLASS = 10
MOST_PRINTED = 40  # classes in the printed table
MOST_SAMPLED = 30  # classes in the figure of samples
SAMPLE_SIDE = 256  # pixels of a sample
SAMPLES_DPI = 80  # about one pixel per image pixel; at the resolution of other figures, photographs take megabytes


@dataclass(frozen=True)
class Look:
    """The results of ``eda`` on a data set.

    Attributes:
        dataset: The data set's name.
        samples: Figure with random training images of each class, as PNG.
        distribution: Images by class (rows) and part (columns ``train``, ``validation``, ``test``).
        channels: ``mean`` and ``std`` of the training images by channel, on a scale of 0 to 1.
    """

    dataset: str
    samples: bytes = field(repr=False)
    distribution: pd.DataFrame
    channels: pd.DataFrame

    def __str__(self) -> str:
        counts, many = self.distribution, len(self.distribution) - MOST_PRINTED
        table = counts.to_string()
        if many > 0:
            by_size = counts.iloc[np.argsort(-counts["train"].to_numpy(), kind="stable")]
            half = MOST_PRINTED // 2
            lines = pd.concat([by_size.head(half), by_size.tail(half)]).to_string().splitlines()
            end = len(lines) - half
            lines.insert(
                end, f"... {many:,} classes between the largest and the smallest, all in class_distribution.csv ..."
            )
            table = "\n".join(lines)
        return f"{table}\n\n{self.channels.to_string(float_format='{:.4f}'.format)}"


def explore(data: ImageData, seed: int) -> Look:
    """Explore a data set.

    Args:
        seed: Seed for drawing the samples.
    """
    shown = np.unique(np.linspace(0, len(data.classes) - 1, min(MOST_SAMPLED, len(data.classes))).round().astype(int))
    samples = draw_samples(data.train, shown.tolist(), seed)
    height, width, _ = data.image_shape
    some = f", {len(shown)} of {len(data.classes):,} classes" if len(shown) < len(data.classes) else ""
    title = f"{data.name}: random training images of {width}x{height} pixels{some}"
    return Look(
        dataset=data.name,
        samples=plain_png(sample_images(samples, [data.classes[label] for label in shown], title), SAMPLES_DPI),
        distribution=count_classes(data),
        channels=pd.DataFrame({"mean": data.mean, "std": data.std}, index=pd.Index(list("RGB"), name="channel")),
    )


def look_files(look: Look) -> dict[str, bytes]:
    """Return the artifacts of an ``eda`` run: ``samples.png``, ``class_distribution.png|csv`` and ``channels.csv``."""
    return {
        "samples.png": look.samples,
        "class_distribution.png": plain_png(distribution_figure(look.distribution, look.dataset)),
        "class_distribution.csv": look.distribution.to_csv().encode(),
        "channels.csv": look.channels.to_csv().encode(),
    }


def read_look(dataset: str, files: Mapping[str, bytes]) -> Look:
    """Read a look back from its artifacts; ``class_distribution.png`` is not needed."""
    return Look(
        dataset=dataset,
        samples=files["samples.png"],
        distribution=read_distribution(files["class_distribution.csv"]),
        channels=pd.read_csv(io.BytesIO(files["channels.csv"]), index_col="channel"),
    )


def count_classes(data: ImageData) -> pd.DataFrame:
    """Count images by class (rows) and part (columns ``train``, ``validation``, ``test``)."""
    parts = {"train": data.train, "validation": data.val, "test": data.test}
    counts = {name: np.bincount(part.labels, minlength=len(data.classes)) for name, part in parts.items()}
    return pd.DataFrame(counts, index=pd.Index(data.classes, name="class"))


def draw_samples(part: Part, classes: Sequence[int], seed: int) -> NDArray[np.uint8]:
    """Draw random images of some classes, at most :data:`SAMPLES_PER_CLASS` of each.

    Args:
        classes: The classes' numbers.

    Returns:
        uint8 (classes, columns, H, W, 3); of large images every second or third pixel and so on, up to
        :data:`SAMPLE_SIDE` per side.
    """
    generator = np.random.default_rng(seed)
    rows = [np.flatnonzero(part.labels == label) for label in classes]
    columns = min(SAMPLES_PER_CLASS, *(len(found) for found in rows))
    step = -(-max(part.images.shape[1:3]) // SAMPLE_SIDE)
    chosen = [part.images[generator.choice(found, columns, replace=False)] for found in rows]
    return np.stack([images[:, ::step, ::step] for images in chosen])
