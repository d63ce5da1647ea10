"""The data set of a run, as tags and as MLflow dataset inputs."""

import hashlib
import warnings
from pathlib import Path

import numpy as np
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.dataset import Dataset
from mlflow.data.dataset_source import DatasetSource
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.http_dataset_source import HTTPDatasetSource
from mlflow.data.numpy_dataset import from_numpy
from mlflow.entities import Dataset as DatasetEntity
from mlflow.entities import DatasetInput, InputTag

from tp1.data.dataset import ImageData, Part

CONTEXTS = {"train": "training", "val": "validation", "test": "testing"}


def data_tags(data: ImageData) -> dict[str, str]:
    """Return the tags that identify a run's data set: its name and the digests of its files and its split."""
    return {"tp1.dataset": data.name, "tp1.data_digest": data.digest, "tp1.split_digest": data.split_digest}


def dataset_inputs(data: ImageData) -> dict[str, DatasetInput]:
    """Return the parts of a data set (``train``, ``val``, ``test``) as MLflow dataset inputs, by part."""
    return {part: dataset_input(dataset, CONTEXTS[part]) for part, dataset in _datasets(data).items()}


def whole_input(data: ImageData, images: Part) -> DatasetInput:
    """Return all images of a data set as one MLflow dataset input.

    Args:
        images: Those of all three parts.
    """
    dataset = from_numpy(
        np.broadcast_to(np.zeros((), images.images.dtype), images.images.shape),  # MLflow takes shape and type alone
        source=_dataset_source(data.origin),
        targets=images.labels,
        name=f"{data.name}-all",
        digest=_part_digest(data, "all"),
    )
    return dataset_input(dataset, "evaluation")


def dataset_input(dataset: Dataset | DatasetEntity, context: str) -> DatasetInput:
    """Return a data set as an MLflow dataset input.

    Args:
        context: What the run uses it for: ``training``, ``validation``, ``testing`` or ``evaluation``.
    """
    entity = dataset if isinstance(dataset, DatasetEntity) else DatasetEntity(**dataset.to_dict())
    return DatasetInput(entity, [InputTag("mlflow.data.context", context)])


def _datasets(data: ImageData) -> dict[str, Dataset]:
    source = _dataset_source(data.origin)
    parts: dict[str, Part] = {"train": data.train, "val": data.val, "test": data.test}
    return {
        title: from_numpy(
            np.broadcast_to(np.zeros((), part.images.dtype), part.images.shape),  # MLflow takes shape and type alone
            source=source,
            targets=part.labels,
            name=f"{data.name}-{title}",
            digest=_part_digest(data, title),
        )
        for title, part in parts.items()
    }


def _dataset_source(origin: str) -> DatasetSource:
    if origin.startswith("https://"):
        return HTTPDatasetSource(origin)
    if Path(origin).is_dir():
        with warnings.catch_warnings():  # MLflow registers its class for local folders twice, and warns each time
            warnings.simplefilter("ignore", UserWarning)
            folder: DatasetSource = resolve_dataset_source(origin)
        return folder
    return CodeDatasetSource({"origin": origin})


def _part_digest(data: ImageData, title: str) -> str:
    # The digests of the files and the split together identify the images. 8 digits, as in MLflow's own digests,
    # because the UI shows the digest behind every name.
    return hashlib.sha256(f"{data.digest}/{data.split_digest}/{title}".encode()).hexdigest()[:8]
