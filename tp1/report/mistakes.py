"""The mistakes that a model is surest of: a file of a run, with the images in it, and the gallery made from that."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from tp1.data.image_files import FoundImage, thumbnail
from tp1.data.stored import ImageArray
from tp1.report.figures import SHORT, shown
from tp1.report.page import Gallery, Tile
from tp1.training.evaluation import Evaluation

FILE = "mistakes.parquet"
MOST = 12  # mistakes in the file
COLUMNS, CELL = 6, 1.9  # of the figure; inches from one row to the next


@dataclass(frozen=True)
class Mistake:
    """A test image that a model takes for another class.

    Attributes:
        index: The image's row in the data set's sorted names.
        probability, of_true: Probability of the predicted and of the true class.
        image: A small PNG, or a JPEG of a larger image.
    """

    index: int
    true: str
    predicted: str
    probability: float
    of_true: float
    image: bytes = field(repr=False)


def surest_mistakes(evaluation: Evaluation, images: ImageArray) -> list[Mistake]:
    """Return at most :data:`MOST` mistakes, those first whose predicted class is the most probable.

    Args:
        images: uint8 (N, H, W, 3), in the order of the evaluation.
    """
    predicted, sure = evaluation.predicted, evaluation.probabilities.max(axis=1)
    rows = evaluation.surest_mistakes(MOST)
    return [
        Mistake(
            index=int(evaluation.index[row]),
            true=evaluation.classes[evaluation.true[row]],
            predicted=evaluation.classes[predicted[row]],
            probability=float(sure[row]),
            of_true=float(evaluation.probabilities[row, evaluation.true[row]]),
            image=thumbnail(FoundImage(str(row), np.array(pixels)))[0],
        )
        for row, pixels in zip(rows, images[rows], strict=True)
    ]


def mistakes_file(mistakes: Sequence[Mistake]) -> bytes:
    """Write mistakes as parquet."""
    buffer = io.BytesIO()
    columns = list(Mistake.__dataclass_fields__)
    pd.DataFrame([asdict(one) for one in mistakes], columns=columns).to_parquet(buffer, index=False)
    return buffer.getvalue()


def read_mistakes(content: bytes) -> list[Mistake]:
    """Read what :func:`mistakes_file` wrote."""
    rows = pd.read_parquet(io.BytesIO(content)).to_dict("records")
    return [Mistake(**{str(key): value for key, value in row.items()}) for row in rows]


def mistakes_figure(mistakes: Sequence[Mistake], title: str) -> Figure:
    """Draw the mistakes side by side, each with its true and its predicted class.

    Args:
        title: Empty for none.
    """
    rows = max(1, -(-len(mistakes) // COLUMNS))
    head = 0.3 if title else 0.0  # inches
    figure = Figure(figsize=(9, CELL * rows + head))
    # All in one pair of axes: twelve pairs take seconds to lay out.
    axes = figure.add_axes((0, 0, 1, CELL * rows / (CELL * rows + head)))
    axes.set(xlim=(0, COLUMNS), ylim=(rows, 0))
    axes.set_axis_off()
    for place, one in enumerate(mistakes):
        row, column = divmod(place, COLUMNS)
        with Image.open(io.BytesIO(one.image)) as image:
            pixels = np.asarray(image)
        # The image keeps its proportions within the cell, below two lines of text.
        high, wide = pixels.shape[:2]
        scale = min(0.92 * 9 / COLUMNS / wide, (CELL - 0.45) / high)
        half, height = scale * wide / (9 / COLUMNS) / 2, scale * high / CELL
        left, bottom = column + 0.5 - half, row + 0.98
        axes.imshow(pixels, extent=(left, left + 2 * half, bottom, bottom - height), aspect="auto")
        names = f"{shown(one.true, SHORT)}\n→ {shown(one.predicted, SHORT)}  {one.probability:.3f}"
        axes.text(column + 0.5, bottom - height - 0.02, names, fontsize=7, ha="center", va="bottom")
    axes.set(xlim=(0, COLUMNS), ylim=(rows, 0))
    if title:
        figure.text(0.5, 1 - head / 2 / (CELL * rows + head), shown(title), ha="center", va="center")
    return figure


def mistakes_gallery(name: str, mistakes: Sequence[Mistake], texts: Mapping[str, Any]) -> Gallery:
    """Return the mistakes side by side; the bar is the probability of the predicted class."""
    tiles = [
        Tile(
            name=texts["image"].format(index=one.index),
            image=one.image,
            title=one.predicted,
            share=one.probability,
            verdict=None,
            note=texts["in_truth"].format(true=one.true, probability=one.of_true),
            small=one.image.startswith(b"\x89PNG"),
        )
        for one in mistakes
    ]
    return Gallery(name, tiles, figure=mistakes_figure(mistakes, ""), caption=texts["mistakes"])
