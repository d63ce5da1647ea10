"""An experiment: a named configuration of a model, and what the report claims of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from tp1.config import TrainConfig
from tp1.transfer import Transfer


@dataclass(frozen=True, kw_only=True)
class Published:
    """Figures that were published for an experiment; None where there are none.

    Attributes:
        train_loss, train_accuracy, val_loss, val_accuracy: At the end of training.
        test_report: The classification report: ``per_class``, ``accuracy``, ``macro_avg``, ``weighted_avg``.
    """

    train_loss: float | None = None
    train_accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    test_report: dict[str, Any] | None = field(default=None, repr=False)

    def metrics(self) -> dict[str, float]:
        """The published figures by the names of the tracked metrics that they compare with."""
        report = self.test_report or {}
        macro = report.get("macro_avg", {})
        found = {
            "train/loss": self.train_loss,
            "train/accuracy": self.train_accuracy,
            "val/loss": self.val_loss,
            "val/accuracy": self.val_accuracy,
            "test/accuracy": report.get("accuracy"),
            "test/precision_macro": macro.get("precision"),
            "test/recall_macro": macro.get("recall"),
            "test/f1_macro": macro.get("f1"),
        }
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What ``mlflow run . -e NAME`` runs when no parameter is given.

    Attributes:
        name: The entry point, such as ``cnnv3``.
        section: Of the report, such as ``1.4``; empty where the report has none.
        summary: One line that says what it is.
        model: Builds the network, ``model(classes, image_size, dropout)``; or a network with frozen convolutions.
        config: The defaults of every parameter.
        published: What the report claims.
    """

    name: str
    section: str = ""
    summary: str
    model: Callable[[int, int, float], nn.Module] | Transfer
    config: TrainConfig
    published: Published = Published()

    @property
    def model_name(self) -> str:
        """The model's name in tags and figures, such as ``CNNV3``."""
        return self.model.name if isinstance(self.model, Transfer) else self.model.__name__
