"""Evaluate predictions for labelled images: accuracy, classification report, confusion matrix."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True)
class Evaluation:
    """Predictions for N labelled images, and the metrics computed from them.

    Attributes:
        classes: Names of the classes, by class number.
        index: (N,) positions of the images in the data set's sorted list of names.
        true: (N,) true class numbers.
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
        """(N,) class numbers of the most probable classes."""
        predicted: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return predicted

    @property
    def accuracy(self) -> float:
        """Share of images whose most probable class is the true one, 0 to 1."""
        return float((self.predicted == self.true).mean())

    def report(self) -> dict[str, Any]:
        """Return scikit-learn's classification report as nested dictionaries."""
        result: dict[str, Any] = self._report(output_dict=True)
        result.setdefault("accuracy", self.accuracy)
        return result

    def report_text(self) -> str:
        """Return the report as scikit-learn's text table."""
        return str(self._report(digits=4))

    def _report(self, **options: Any) -> Any:
        from sklearn.metrics import classification_report  # here: slow to import

        labels = range(len(self.classes))
        return classification_report(
            self.true, self.predicted, labels=labels, target_names=self.classes, zero_division=0, **options
        )

    def report_table(self) -> pd.DataFrame:
        """Return one row per class, then macro and weighted average: precision, recall, f1-score, support."""
        rows = {name: row for name, row in self.report().items() if isinstance(row, dict)}
        return pd.DataFrame(rows).T

    def confusion(self) -> NDArray[np.int64]:
        """Return the (classes, classes) counts: true class by row, predicted class by column."""
        from sklearn.metrics import confusion_matrix

        matrix: NDArray[np.int64] = confusion_matrix(self.true, self.predicted, labels=range(len(self.classes)))
        return matrix

    def metrics(self) -> dict[str, float]:
        """Return the final test metrics by their tracked names: ``test/accuracy``, ``test/f1/<class>`` and so on."""
        report = self.report()
        found = {"test/accuracy": self.accuracy, "test/loss": self.loss}
        short = {"precision": "precision", "recall": "recall", "f1-score": "f1"}
        for average in ("macro", "weighted"):
            found |= {f"test/{name}_{average}": report[f"{average} avg"][key] for key, name in short.items()}
        for class_name in self.classes:
            found |= {f"test/{name}/{class_name}": report[class_name][key] for key, name in short.items()}
        return found

    def predictions(self) -> pd.DataFrame:
        """Return the predictions as a table, as :func:`prediction_table` does."""
        return prediction_table(self.index, self.true, self.probabilities, self.classes)


def prediction_table(
    index: NDArray[np.int64], true: NDArray[np.int64], probabilities: NDArray[np.float32], classes: Sequence[str]
) -> pd.DataFrame:
    """Return columns ``index``, ``true``, ``predicted``, then one float32 probability column per class, by its name."""
    table = pd.DataFrame({"index": index, "true": true, "predicted": probabilities.argmax(axis=1)})
    return pd.concat([table, pd.DataFrame(probabilities, columns=list(classes))], axis=1)
