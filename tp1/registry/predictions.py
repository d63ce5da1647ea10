"""Predict image files; write the predictions as JSON, CSV or a table."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tp1.base.errors import TP1Error
from tp1.base.names import printable
from tp1.base.progress import progress_bar
from tp1.data.decoding import strict_and_quiet
from tp1.data.image_files import FoundImage, read_batches
from tp1.registry.predictor import Predictor
from tp1.report.page import Inline, Number, Table

MOST_NAMED = 10  # unreadable files; the others are counted


@dataclass(frozen=True)
class Predictions:
    """Predictions for the N images that could be read, in order.

    Attributes:
        classes: Names of the classes, by class number.
        probabilities: float32 (N, classes).
        images: The N images, in order.
        true: (N,) numbers of the true classes; -1 where unknown.
        resized: Number of images that were resized to the size that the model takes.
        unreadable: (name, reason) of each image that could not be read.
    """

    classes: tuple[str, ...]
    images: Sequence[FoundImage] = field(repr=False)
    probabilities: NDArray[np.float32] = field(repr=False)
    true: NDArray[np.int64] = field(repr=False)
    resized: int
    unreadable: Sequence[tuple[str, str]]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(N,) class numbers of the most probable classes."""
        predicted: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return predicted

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(N,) whether the true class is known."""
        return self.true >= 0

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """(N,) whether the true class is known and differs from the predicted class."""
        wrong: NDArray[np.bool_] = self.labelled & (self.predicted != self.true)
        return wrong

    def confusion(self) -> NDArray[np.int64]:
        """Return the (classes, classes) counts of the labelled images: true class by row, predicted class by column."""
        counts = np.zeros((len(self.classes), len(self.classes)), np.int64)
        np.add.at(counts, (self.true[self.labelled], self.predicted[self.labelled]), 1)
        return counts

    def accuracy(self) -> str | None:
        """Return a sentence with the accuracy on the labelled images, or None if there are none."""
        count = int(self.labelled.sum())
        if count == 0:
            return None
        right = count - int(self.wrong.sum())
        return f"Accuracy {right / count:.4f} ({right:,} of {count:,} images)"

    def most_probable(self, row: int, top: int) -> list[tuple[str, float]]:
        """Return name and probability of the ``top`` most probable classes of an image (all, if there are fewer)."""
        return next(self._ranked(self.probabilities[row : row + 1], top))

    def ranked(self, top: int) -> Iterator[list[tuple[str, float]]]:
        """Yield :meth:`most_probable` of each image, in order; sorting all at once takes a quarter of the time."""
        return self._ranked(self.probabilities, top)

    def _ranked(self, probabilities: NDArray[np.float32], top: int) -> Iterator[list[tuple[str, float]]]:
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
        values = np.take_along_axis(probabilities, order, axis=1)
        for numbers, row in zip(order.tolist(), values.tolist(), strict=True):
            yield [(self.classes[number], value) for number, value in zip(numbers, row, strict=True)]

    def complaint(self) -> str | None:
        """Return one line that names the unreadable images, or None if there are none."""
        if not self.unreadable:
            return None
        named = "; ".join(f"{printable(name)} ({reason})" for name, reason in self.unreadable[:MOST_NAMED])
        more = len(self.unreadable) - MOST_NAMED
        return (
            f"{len(self.unreadable):,} of {len(self.images) + len(self.unreadable):,} images could not be read: {named}"
            f"{f'; and {more:,} more' if more > 0 else ''}. Mend or remove them."
        )


def predict_images(predictor: Predictor, images: Sequence[FoundImage]) -> Predictions:
    """Read and predict all images; reading runs ahead of the model.

    Raises:
        TP1Error: No image could be read.
    """
    from tp1.training.inference import EVALUATION_BATCH  # here, because it imports torch

    numbers = {name: number for number, name in enumerate(predictor.classes)}
    read: list[FoundImage] = []
    probabilities: list[NDArray[np.float32]] = []
    unreadable: list[tuple[str, str]] = []
    resized = 0
    with strict_and_quiet(), progress_bar(len(images), "Predicting") as bar:
        for batch in read_batches(images, predictor.image_shape, EVALUATION_BATCH):
            read += batch.found
            probabilities.append(predictor.probabilities(batch.pixels))
            unreadable += batch.unreadable
            resized += batch.resized
            bar.update(len(batch.found) + len(batch.unreadable))
    true = [numbers.get(image.true_class(numbers) or "", -1) for image in read]
    found = Predictions(
        predictor.classes, read, np.concatenate(probabilities), np.array(true, np.int64), resized, unreadable
    )
    if not read:
        raise TP1Error(str(found.complaint()))
    return found


def as_json(predictions: Predictions, top: int) -> bytes:
    """JSON list of ``{"image", "true", "predictions": [{"class", "probability"}]}``; ``true`` only where known."""
    rows = []
    for image, true, ranked in zip(predictions.images, predictions.true, predictions.ranked(top), strict=True):
        rows.append(
            {
                "image": image.name,
                **({"true": predictions.classes[true]} if true >= 0 else {}),
                "predictions": [{"class": name, "probability": round(value, 6)} for name, value in ranked],
            }
        )
    return ("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n").encode()


def as_csv(predictions: Predictions, top: int) -> bytes:
    """CSV: ``image,true,class_1,probability_1,class_2,...``; without ``true`` if no true class is known.

    Names are escaped as in the table, so that every row is one line and safe to show in a terminal.
    """
    top = min(top, len(predictions.classes))
    labelled = bool(predictions.labelled.any())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ranks = [f"{column}_{rank}" for rank in range(1, top + 1) for column in ("class", "probability")]
    writer.writerow(["image", *(["true"] if labelled else []), *ranks])
    for row, (image, ranked) in enumerate(zip(predictions.images, predictions.ranked(top), strict=True)):
        cells = [part for name, value in ranked for part in (name, f"{value:.6f}")]
        writer.writerow([printable(image.name), *([_true(predictions, row)] if labelled else []), *cells])
    return text.getvalue().encode()


def as_table(predictions: Predictions, top: int, most: int | None = None) -> Table:
    """Return a table of the first ``most`` predictions (None: all) to show to users."""
    top = min(top, len(predictions.classes))
    labelled = bool(predictions.labelled.any())
    ranks = [part for rank in range(1, top + 1) for part in (f"class {rank}", "p")]
    wrong = predictions.wrong
    rows: list[list[Inline]] = []
    for row, image in enumerate(predictions.images[:most]):
        ranked: list[Inline] = []
        for name, value in predictions.most_probable(row, top):
            ranked += [name, Number(f"{value:.3f}", value)]
        true = f"{_true(predictions, row)}{' ✗' if wrong[row] else ''}"
        rows.append([printable(image.name), *([true] if labelled else []), *ranked])
    return Table(["image", *(["true"] if labelled else []), *ranks], rows)


def _true(predictions: Predictions, row: int) -> str:
    number = predictions.true[row]
    return predictions.classes[number] if number >= 0 else ""
