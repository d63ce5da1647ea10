"""An experiment: a named model configuration, with the results that the report claims for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tp1.config import HYPERPARAMETERS, TrainConfig

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Published:
    """Published results of an experiment; None for those that were not published.

    Attributes:
        train_loss, train_accuracy, val_loss, val_accuracy: At the end of training.
        test_report: The classification report: ``per_class``, ``accuracy``, ``macro_avg``, ``weighted_avg``.
        remark: The published remark about over- or underfitting.
    """

    train_loss: float | None = None
    train_accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    test_report: dict[str, Any] | None = field(default=None, repr=False)
    remark: str = ""

    def metrics(self) -> dict[str, float]:
        """Return the published figures by the names of the tracked metrics to compare them with."""
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
        name: Name of the model in tags and figures.
        trunks: Architectures of the frozen networks: ``alexnet`` or ``mobilenet_v2``.
        side: Side length of the feature maps after resizing; None: that of the first trunk's maps.
        head: The classifier: ``linear``, ``alexnet`` or ``fusion`` (see :mod:`tp1.models.transfer`).
    """

    name: str
    trunks: tuple[str, ...]
    side: int | None
    head: str


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A model with its default configuration, which ``mlflow run . -e NAME`` trains.

    Attributes:
        name: The entry point, such as ``cnnv3``.
        section: Section of the report, such as ``1.4``; empty if the experiment is not in the report.
        summary: One-line description.
        model: Function ``model(classes, image_size, dropout)`` that builds the network; or a :class:`Transfer`.
        config: The default of every parameter.
        published: The results that the report claims.
        configuration: Name of the configuration within a :class:`Study`, such as ``c2``; else empty.
        minutes: Minutes of training on two CPU cores; shown before a list of runs starts.
        figures: Numbers of the report's figures that it reproduces.
        note: Known reason why its results differ from the report's, for the rebuilt report.
        summary_pt, note_pt: The same in Portuguese, for the report in that language; empty: it has the English text.
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
    summary_pt: str = ""
    note_pt: str = ""

    @property
    def label(self) -> str:
        """``cnnv3``, or ``cnnv3-c2`` for a study's configuration; runs are named ``<label>-s<seed>``."""
        return f"{self.name}-{self.configuration}" if self.configuration else self.name

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of the networks to which the parameter ``weights`` applies."""
        return self.model.trunks if isinstance(self.model, Transfer) else (self.model_name,)

    def published_on(self, dataset: str) -> dict[str, float]:
        """Return the published figures by metric; empty if ``dataset`` is not the report's, as they do not apply."""
        return self.published.metrics() if dataset == self.config.dataset else {}

    @property
    def model_name(self) -> str:
        """The model's name in tags and figures, such as ``cnnv3``."""
        if isinstance(self.model, Transfer):
            return self.model.name
        function = self.model.func if isinstance(self.model, partial) else self.model
        return getattr(function, "__name__", type(function).__name__)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Several configurations of one experiment, run together and compared (table 2 of the report).

    Attributes:
        name: The entry point, such as ``cnnv3-configs``.
        section: Section of the report.
        summary: One-line description.
        experiments: One for each configuration, with the same name and different ``configuration``.
        summary_pt: The summary in Portuguese; may be empty.
    """

    name: str
    section: str = ""
    summary: str
    experiments: tuple[Experiment, ...]
    summary_pt: str = ""

    @classmethod
    def of(
        cls,
        base: Experiment,
        *,
        name: str,
        section: str = "",
        summary: str,
        summary_pt: str = "",
        configurations: Sequence[tuple[TrainConfig, Published]],
    ) -> Study:
        """Make a study of ``base`` with other configurations, named c1, c2 and so on."""
        experiments = tuple(
            replace(base, section=section, configuration=f"c{number}", config=config, published=published, note="")
            for number, (config, published) in enumerate(configurations, start=1)
        )
        return cls(name=name, section=section, summary=summary, summary_pt=summary_pt, experiments=experiments)

    def varied(self) -> set[str]:
        """Return the names of the hyperparameters that differ between the configurations."""
        first, *others = (experiment.config.flat() for experiment in self.experiments)
        return {name for name in HYPERPARAMETERS for other in others if other[name] != first[name]}


def by_name_and_configuration(entries: Iterable[Experiment | Study]) -> dict[tuple[str, str], Experiment]:
    """Return all experiments, in order, by (name, configuration): the tags of their runs with these names."""
    return {(one.name, one.configuration): one for entry in entries for one in experiments_of(entry)}


def experiments_of(entry: Experiment | Study) -> tuple[Experiment, ...]:
    """Return the experiment itself, or all configurations of a study."""
    return entry.experiments if isinstance(entry, Study) else (entry,)
