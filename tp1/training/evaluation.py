"""What a trained classifier does on images that it has not seen."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from tp1.base.errors import TP1Error
from tp1.data.dataset import Part
from tp1.models.classifier import ImageModel
from tp1.report.paired import prediction_table

EVALUATION_BATCH = 64  # what fits a processor's cache is quicker, and 224 pixels fit in memory


@torch.inference_mode()
def predict_logits(classifier: ImageModel, images: NDArray[Any], precision: str = "fp32") -> torch.Tensor:
    """Logits of every image, in evaluation mode: N inputs -> float32 (N, classes) on the CPU."""
    classifier.eval()
    device = classifier.device
    parts = []
    for start in range(0, len(images), EVALUATION_BATCH):
        batch = torch.from_numpy(images[start : start + EVALUATION_BATCH]).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            parts.append(classifier.logits(batch).cpu())
    return torch.cat(parts)


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


def evaluate(classifier: ImageModel, part: Part, classes: tuple[str, ...]) -> Evaluation:
    """Predict a part in float32, as the served model does.

    Args:
        classes: The data set's class names.

    Raises:
        TP1Error: The classifier's class names are not the data set's.
    """
    if classifier.classes != classes:
        odd = sorted(set(classifier.classes) ^ set(classes))
        raise TP1Error(
            f"the model and the data set have different classes: only one of them has {odd or 'this order'}. "
            f"The model knows {list(classifier.classes)}."
        )
    logits = predict_logits(classifier, part.images)
    loss = F.cross_entropy(logits, torch.from_numpy(part.labels)).item()
    return Evaluation(classes, part.index, part.labels, logits.softmax(dim=1).numpy(), loss)
