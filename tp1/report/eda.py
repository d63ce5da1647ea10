"""A first look at a data set (report section 1.1, figures 1, 2 and 10)."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tp1.data.dataset import ImageData, Part
from tp1.report.figures import sample_images
from tp1.report.run_figures import distribution_figure
from tp1.tracking import tool_run as tracking

SAMPLES_PER_CLASS = 10


def explore(data: ImageData, seed: int) -> str:
    """Log sample images, class distribution and channel statistics to the active run; return the tables as text.

    Artifacts: ``samples.png`` (ten random training images per class), ``class_distribution.png|csv``, and
    ``channels.csv`` (mean and standard deviation of the training images, on a scale of 0 to 1).
    """
    counts = count_classes(data)
    channels = pd.DataFrame({"mean": data.mean, "std": data.std}, index=pd.Index(list("RGB"), name="channel"))
    samples = draw_samples(data.train, len(data.classes), seed)
    height, width, _ = data.image_shape
    tracking.log_data(data)
    tracking.log_figure(
        sample_images(samples, data.classes, f"{data.name}: random training images of {width}x{height} pixels"),
        "samples.png",
        dpi=80,  # a pixel for a pixel, nearly: photographs in the size of other figures would take megabytes
    )
    tracking.log_figure(distribution_figure(counts, data.name), "class_distribution.png")
    tracking.log_table(counts, "class_distribution.csv")
    tracking.log_table(channels, "channels.csv")
    return f"{counts.to_string()}\n\n{channels.to_string(float_format='{:.4f}'.format)}"


def count_classes(data: ImageData) -> pd.DataFrame:
    """Images by class (rows) and part (columns ``train``, ``validation``, ``test``)."""
    parts = {"train": data.train, "validation": data.val, "test": data.test}
    counts = {name: np.bincount(part.labels, minlength=len(data.classes)) for name, part in parts.items()}
    return pd.DataFrame(counts, index=pd.Index(data.classes, name="class"))


def draw_samples(part: Part, classes: int, seed: int) -> NDArray[np.uint8]:
    """Random images of each class: uint8 (classes, columns, H, W, 3), at most :data:`SAMPLES_PER_CLASS` columns."""
    generator = np.random.default_rng(seed)
    rows = [np.flatnonzero(part.labels == label) for label in range(classes)]
    columns = min(SAMPLES_PER_CLASS, *(len(found) for found in rows))
    return np.stack([part.images[generator.choice(found, columns, replace=False)] for found in rows])
