"""An experiment: a named configuration of a model, and what the report claims of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tp1.config import HYPERPARAMETERS, TrainConfig

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Published:
    """Figures that were published for an experiment; None where there are none.

    Attributes:
        train_loss, train_accuracy, val_loss, val_accuracy: At the end of training.
        test_report: The classification report: ``per_class``, ``accuracy``, ``macro_avg``, ``weighted_avg``.
        remark: What was written about over- or underfitting.
    """

    train_loss: float | None = None
    train_accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    test_report: dict[str, Any] | None = field(default=None, repr=False)
    remark: str = ""

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


@dataclass(frozen=True)
class Transfer:
    """A network with frozen convolutions, or several fused, under a classifier that is trained.

    Attributes:
        name: Of the model, in tags and figures.
        trunks: Architectures, ``alexnet`` or ``mobilenet_v2``.
        side: Pixels per side that features are brought to; None: those of the first trunk, as they come.
        head: The classifier: ``linear``, ``alexnet`` or ``fusion`` (see :mod:`tp1.models.transfer`).
    """

    name: str
    trunks: tuple[str, ...]
    side: int | None
    head: str


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
        configuration: Such as ``c2``, where it is one of a :class:`Study`.
        minutes: How long it takes on two CPU cores; shown before several are run.
        figures: The numbers of the report's figures that it rebuilds.
        note: What is known of why its figures differ from the report's, for the rebuilt report.
    """

    name: str
    section: str = ""
    summary: str
    model: Callable[[int, int, float], nn.Module] | Transfer
    config: TrainConfig
    published: Published = Published()
    configuration: str = ""
    minutes: float | None = None
    figures: tuple[int, ...] = ()
    note: str = ""

    @property
    def label(self) -> str:
        """``cnnv3``, or ``cnnv3-c2`` for a configuration of it; runs are named ``<label>-s<seed>``."""
        return f"{self.name}-{self.configuration}" if self.configuration else self.name

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of the networks that the parameter ``weights`` can give weights to."""
        return self.model.trunks if isinstance(self.model, Transfer) else (self.model_name,)

    def published_on(self, dataset: str) -> dict[str, float]:
        """The published figures, where ``dataset`` is the report's own: beside another they would mean nothing."""
        return self.published.metrics() if dataset == self.config.dataset else {}

    @property
    def model_name(self) -> str:
        """The model's name in tags and figures, such as ``cnnv3``."""
        return self.model.name if isinstance(self.model, Transfer) else self.model.__name__


@dataclass(frozen=True, kw_only=True)
class Study:
    """Several configurations of one experiment, run together and compared (table 2 of the report).

    Attributes:
        name: The entry point, such as ``cnnv3-configs``.
        section: Of the report.
        summary: One line that says what is studied.
        experiments: One for each configuration; they share a name and differ in ``configuration``.
    """

    name: str
    section: str = ""
    summary: str
    experiments: tuple[Experiment, ...]

    @classmethod
    def of(
        cls,
        base: Experiment,
        *,
        name: str,
        section: str = "",
        summary: str,
        configurations: Sequence[tuple[TrainConfig, Published]],
    ) -> Study:
        """``base`` with other configurations, which are called c1, c2 and so on."""
        experiments = tuple(
            replace(base, section=section, configuration=f"c{number}", config=config, published=published, note="")
            for number, (config, published) in enumerate(configurations, start=1)
        )
        return cls(name=name, section=section, summary=summary, experiments=experiments)

    def varied(self) -> set[str]:
        """The hyperparameters that differ between the configurations."""
        first = self.experiments[0].config
        return {
            name
            for name in HYPERPARAMETERS
            for other in self.experiments
            if getattr(other.config, name) != getattr(first, name)
        }


def by_name_and_configuration(entries: Iterable[Experiment | Study]) -> dict[tuple[str, str], Experiment]:
    """Every experiment, in order, by what the tags ``tp1.experiment`` and ``tp1.configuration`` of its runs say."""
    return {(one.name, one.configuration): one for entry in entries for one in experiments_of(entry)}


def experiments_of(entry: Experiment | Study) -> tuple[Experiment, ...]:
    """An experiment itself, or the configurations of a study."""
    return entry.experiments if isinstance(entry, Study) else (entry,)
