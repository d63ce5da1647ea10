"""What a stored model does on labelled images of any data set: predictions, and all that is computed from them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tp1.report.calibration import brier_scores, expected_calibration_error, reliability
from tp1.report.intervals import Intervals, bootstrap
from tp1.training.evaluation import Evaluation, prediction_table

LEAST = 1e-12  # a probability below it counts as this much in the loss


@dataclass(frozen=True)
class Examination:
    """Predictions for N labelled images of a data set.

    The data set's classes come first, with its own numbers. A model may know more: their numbers follow, and an image
    that is taken for one of them is a mistake.

    Attributes:
        classes: Names of the data set's classes, by class number.
        others: Names of the classes that only the model knows.
        index: (N,) positions of the images in the data set's sorted list of names.
        true: (N,) true class numbers.
        probabilities: float32 (N, classes and others).
    """

    classes: tuple[str, ...]
    others: tuple[str, ...]
    index: NDArray[np.int64]
    true: NDArray[np.int64]
    probabilities: NDArray[np.float32]

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """(N,) class numbers of the most probable classes."""
        return self.evaluation.predicted

    @property
    def accuracy(self) -> float:
        """Share of images whose most probable class is the true one, 0 to 1."""
        return self.evaluation.accuracy

    @cached_property
    def evaluation(self) -> Evaluation:
        """Accuracy, loss and report by the data set's classes."""
        of_true = self.probabilities[np.arange(len(self.true)), self.true].astype(np.float64)
        loss = float(-np.log(np.maximum(of_true, LEAST)).mean())
        return Evaluation(self.classes, self.index, self.true, self.probabilities, loss)

    @cached_property
    def bins(self) -> pd.DataFrame:
        """Confidence and accuracy by bin (:func:`~tp1.report.calibration.reliability`)."""
        return reliability(self.probabilities, self.true)

    @property
    def calibration_error(self) -> float:
        """The expected calibration error, 0 to 1."""
        return expected_calibration_error(self.probabilities, self.true)

    @property
    def brier(self) -> float:
        """The Brier score, 0 to 2."""
        return float(brier_scores(self.probabilities, self.true).mean())

    @cached_property
    def intervals(self) -> Intervals:
        """95 % bootstrap intervals over the images."""
        return bootstrap(self.true, self.predicted, brier_scores(self.probabilities, self.true), len(self.classes))

    def confusion(self) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """Return counts by true (rows) and predicted class (columns), and the classes' names.

        Of the classes that only the model knows, those that some image is taken for are there too.
        """
        taken = [number for number in np.unique(self.predicted).tolist() if number >= len(self.classes)]
        numbers = [*range(len(self.classes)), *taken]
        place = np.zeros(self.probabilities.shape[1], np.int64)
        place[numbers] = np.arange(len(numbers))
        counts = np.zeros((len(numbers), len(numbers)), np.int64)
        np.add.at(counts, (place[self.true], place[self.predicted]), 1)
        return counts, tuple((*self.classes, *self.others)[number] for number in numbers)

    def metrics(self) -> dict[str, float]:
        """Return what is tracked, by name: ``eval/accuracy``, ``eval/f1/<class>``, ``eval/ece`` and so on."""
        found = {f"eval/{name.removeprefix('test/')}": value for name, value in self.evaluation.metrics().items()}
        for name in ("accuracy", "f1_macro", "brier"):
            found[f"eval/{name}_low"], found[f"eval/{name}_high"] = getattr(self.intervals, name)
        return found | {"eval/ece": self.calibration_error, "eval/brier": self.brier}

    def class_table(self) -> pd.DataFrame:
        """Return one row per class of the data set: images, precision, recall with its interval, and F1."""
        rows = self.evaluation.report_table().iloc[: len(self.classes)]
        return pd.DataFrame(
            {
                "class": self.classes,
                "images": rows["support"].astype(int).to_numpy(),
                "precision": rows["precision"].to_numpy(),
                "recall": rows["recall"].to_numpy(),
                "recall_low": self.intervals.recall[:, 0],
                "recall_high": self.intervals.recall[:, 1],
                "f1": rows["f1-score"].to_numpy(),
            }
        )

    def predictions(self) -> pd.DataFrame:
        """Return the predictions as a table with the columns of a training run's ``predictions.parquet``."""
        return prediction_table(self.index, self.true, self.probabilities, (*self.classes, *self.others))

    def paired_table(self) -> pd.DataFrame:
        """Return the predictions in the data set's classes alone, as another model's on the same images has them."""
        table = prediction_table(self.index, self.true, self.probabilities[:, : len(self.classes)], self.classes)
        return table.assign(predicted=np.where(self.predicted < len(self.classes), self.predicted, -1))

    def worst_mistakes(self, most: int) -> NDArray[np.int64]:
        """Return the rows of the mistakes that the model is surest of, the surest first."""
        return self.evaluation.surest_mistakes(most)
