"""Evaluate predictions for labelled images: accuracy, classification report, confusion matrix."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tp1.data.class_names import label_names, metric_names

MOST_MEASURED = 100  # classes with metrics of their own: with more, only the files have them
MOST_PRINTED = 50  # classes in the report that is printed


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

    def surest_mistakes(self, most: int) -> NDArray[np.int64]:
        """Return the rows of at most so many mistakes, those first whose predicted class is the most probable."""
        wrong = np.flatnonzero(self.predicted != self.true)
        order = np.argsort(-self.probabilities[wrong].max(axis=1), kind="stable")
        return wrong[order[:most]]

    def report(self) -> dict[str, Any]:
        """Return scikit-learn's classification report as nested dictionaries, by :func:`label_names` of the classes."""
        result: dict[str, Any] = self._report(output_dict=True)
        result.setdefault("accuracy", self.accuracy)
        return result

    def report_text(self) -> str:
        """Return the report as scikit-learn's text table."""
        return str(self._report(digits=4))

    def brief_report(self) -> str:
        """Return the report to print: of many classes, those with the lowest F1 and the averages."""
        if len(self.classes) <= MOST_PRINTED:
            return self.report_text()
        lines = self.report_text().splitlines()
        head, rows, averages = lines[:2], lines[2 : 2 + len(self.classes)], lines[2 + len(self.classes) :]
        report = self.report()
        scores = [report[name]["f1-score"] for name in label_names(self.classes)]
        lowest = np.argsort(scores, kind="stable")[:MOST_PRINTED].tolist()
        note = f"The {MOST_PRINTED} of {len(rows):,} classes with the lowest F1; classification_report.csv has all."
        return "\n".join([*head, *(rows[place] for place in lowest), *averages, "", note])

    def _report(self, **options: Any) -> Any:
        from sklearn.metrics import classification_report  # here: slow to import

        labels = range(len(self.classes))
        return classification_report(
            self.true, self.predicted, labels=labels, target_names=label_names(self.classes), zero_division=0, **options
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
        """Return the final test metrics by their tracked names: ``test/accuracy``, ``test/f1/<class>`` and so on.

        The class is named as :func:`metric_names` says. Above :data:`MOST_MEASURED` classes, there are no metrics by
        class: thousands of them would make a run's page unusable.
        """
        report = self.report()
        found = {"test/accuracy": self.accuracy, "test/loss": self.loss}
        short = {"precision": "precision", "recall": "recall", "f1-score": "f1"}
        for average in ("macro", "weighted"):
            found |= {f"test/{name}_{average}": report[f"{average} avg"][key] for key, name in short.items()}
        # Recall averaged over classes. The averages above are scikit-learn's over all classes; each has test images.
        found["test/balanced_accuracy"] = report["macro avg"]["recall"]
        if len(self.classes) <= MOST_MEASURED:
            for label, metric in zip(label_names(self.classes), metric_names(self.classes), strict=True):
                found |= {f"test/{name}/{metric}": report[label][key] for key, name in short.items()}
        return found

    def predictions(self) -> pd.DataFrame:
        """Return the predictions as a table, as :func:`prediction_table` does."""
        return prediction_table(self.index, self.true, self.probabilities, self.classes)


def prediction_table(
    index: NDArray[np.int64], true: NDArray[np.int64], probabilities: NDArray[np.float32], classes: Sequence[str]
) -> pd.DataFrame:
    """Return columns ``index``, ``true``, ``predicted``, then one float32 probability column per class.

    These columns are named as :func:`label_names` says.
    """
    table = pd.DataFrame({"index": index, "true": true, "predicted": probabilities.argmax(axis=1)})
    return pd.concat([table, pd.DataFrame(probabilities, columns=list(label_names(classes)))], axis=1)
