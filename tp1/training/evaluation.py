"""Predictions for labelled images, and what follows from them: accuracy, classification report, confusion matrix."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True)
class Evaluation:
    """Predictions for N labelled images, and what follows from them.

    Attributes:
        classes: Names of the classes, by class number.
        index: (N,) rows of the images in the data set's sorted names.
        true: (N,) class numbers.
        probabilities: float32 (N, classes).
        loss: Mean cross entropy in nats.
    """

    classes: tuple[str, ...]
    index: NDArray[np.int64]
    true: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    loss: float

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(N,) numbers of the most probable classes."""
        predicted: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return predicted

    @property
    def accuracy(self) -> float:
        """Share of images whose most probable class is the true one, 0 to 1."""
        return float((self.predicted == self.true).mean())

    def report(self) -> dict[str, Any]:
        """scikit-learn's classification report as nested dictionaries."""
        result: dict[str, Any] = self._report(output_dict=True)
        result.setdefault("accuracy", self.accuracy)
        return result

    def report_text(self) -> str:
        """The report as the text table that scikit-learn prints."""
        return str(self._report(digits=4))

    def _report(self, **options: Any) -> Any:
        from sklearn.metrics import classification_report  # here, so that training need not wait for it

        labels = range(len(self.classes))
        return classification_report(
            self.true, self.predicted, labels=labels, target_names=self.classes, zero_division=0, **options
        )

    def report_table(self) -> pd.DataFrame:
        """One row per class, then macro and weighted average: precision, recall, f1-score, support."""
        rows = {name: row for name, row in self.report().items() if isinstance(row, dict)}
        return pd.DataFrame(rows).T

    def confusion(self) -> NDArray[np.int64]:
        """(classes, classes) counts: true class by row, predicted class by column."""
        from sklearn.metrics import confusion_matrix

        matrix: NDArray[np.int64] = confusion_matrix(self.true, self.predicted, labels=range(len(self.classes)))
        return matrix

    def metrics(self) -> dict[str, float]:
        """The metrics of a run's end, by their tracked names: ``test/accuracy``, ``test/f1/<class>`` and so on."""
        report = self.report()
        found = {"test/accuracy": self.accuracy, "test/loss": self.loss}
        short = {"precision": "precision", "recall": "recall", "f1-score": "f1"}
        for average in ("macro", "weighted"):
            found |= {f"test/{name}_{average}": report[f"{average} avg"][key] for key, name in short.items()}
        for class_name in self.classes:
            found |= {f"test/{name}/{class_name}": report[class_name][key] for key, name in short.items()}
        return found

    def predictions(self) -> pd.DataFrame:
        """``index``, ``true``, ``predicted``, then one float32 probability column per class, named by it."""
        return prediction_table(self.index, self.true, self.probabilities, self.classes)


def prediction_table(
    index: NDArray[np.int64], true: NDArray[np.int64], probabilities: NDArray[np.float32], classes: Sequence[str]
) -> pd.DataFrame:
    """``index``, ``true``, ``predicted``, then one float32 probability column per class, named by it."""
    table = pd.DataFrame({"index": index, "true": true, "predicted": probabilities.argmax(axis=1)})
    return pd.concat([table, pd.DataFrame(probabilities, columns=list(classes))], axis=1)
