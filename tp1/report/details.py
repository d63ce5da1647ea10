"""Metric histories and files of runs, which the report shows and a plain comparison does not need."""

import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tp1.report.comparison import Group
from tp1.report.eda import Look, read_look
from tp1.report.mistakes import FILE as MISTAKES
from tp1.report.mistakes import Mistake, read_mistakes
from tp1.store.reader import RunReader, find_run
from tp1.store.records import LOOK_FILES
from tp1.store.runs import CURVES, images_of


@dataclass(frozen=True)
class Detail:
    """Histories and files of one group, for the report.

    Attributes:
        histories: Metrics by epoch, one mapping per run, in the order of the group's runs.
        reports: scikit-learn's classification reports, in the same order.
        confusion: Confusion matrix of the first run: counts by true class (rows) and predicted class (columns).
        command: Command that repeats the first run.
        predictions: Of the test images, one table for each run that has one.
        mistakes: The surest ones of the first run; empty if it did not keep any.
        images: Number of images by what the first run used them for: ``training``, ``validation`` and ``testing``.
    """

    group: Group
    histories: Sequence[Mapping[str, Sequence[float]]]
    reports: Sequence[Mapping[str, Any]]
    confusion: pd.DataFrame
    command: str
    predictions: Sequence[pd.DataFrame]
    mistakes: Sequence[Mistake]
    images: Mapping[str, int]

    @property
    def compared_images(self) -> int:
        """Number of images behind the accuracy that is compared with the published one; 0 if that is not known."""
        part = {"test/accuracy": "testing", "val/accuracy": "validation"}.get(self.group.published_metric or "", "")
        return self.images.get(part, 0)


def read_histories(
    groups: Sequence[Group], metrics: Sequence[str], reader: RunReader
) -> list[list[dict[str, list[float]]]]:
    """Read metrics by epoch: one mapping per run, in one list per group."""
    found = reader.read_histories([run.run_id for group in groups for run in group.runs], metrics)
    return [[found[run.run_id] for run in group.runs] for group in groups]


def read_details(groups: Sequence[Group], reader: RunReader) -> dict[str, Detail]:
    """Read histories and files of the groups' runs; return them by the id of each group's first run.

    Raises:
        TP1Error: A run lacks one of its files.
    """
    details = {}
    for group, histories in zip(groups, read_histories(groups, CURVES, reader), strict=True):
        ids = [run.run_id for run in group.runs]
        details[ids[0]] = Detail(
            group=group,
            histories=histories,
            reports=[json.loads(reader.read_file(run_id, "classification_report.json")) for run_id in ids],
            confusion=pd.read_csv(io.BytesIO(reader.read_file(ids[0], "confusion_matrix.csv")), index_col="true"),
            command=json.loads(reader.read_file(ids[0], "config.json"))["command"],
            predictions=[table for run_id in ids if (table := _predictions(reader, run_id)) is not None],
            mistakes=_mistakes(reader, ids[0]),
            images=_images(reader, ids[0]),
        )
    return details


def _predictions(reader: RunReader, run_id: str) -> pd.DataFrame | None:
    content = reader.read_optional_file(run_id, "predictions.parquet")
    return None if content is None else pd.read_parquet(io.BytesIO(content))


def _mistakes(reader: RunReader, run_id: str) -> list[Mistake]:
    content = reader.read_optional_file(run_id, MISTAKES)
    return [] if content is None else read_mistakes(content)


def _images(reader: RunReader, run_id: str) -> dict[str, int]:
    inputs = find_run(run_id, reader.uri).inputs
    return {
        tag.value: images_of(given.dataset.profile)
        for given in (inputs.dataset_inputs if inputs else ())
        for tag in given.tags
        if tag.key == "mlflow.data.context"
    }


def read_looks(datasets: Collection[str], reader: RunReader) -> dict[str, Look]:
    """Read the results of the newest ``eda`` run on each data set; data sets without one are left out.

    Raises:
        TP1Error: A run lacks one of its files.
    """
    runs = reader.find_looks()
    return {
        dataset: read_look(dataset, {name: reader.read_file(runs[dataset], name) for name in LOOK_FILES})
        for dataset in datasets
        if dataset in runs
    }
