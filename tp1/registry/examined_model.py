"""A stored model to examine: its program, where it comes from, and which images it was trained on."""

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tp1.base.digests import digest
from tp1.base.errors import TP1Error
from tp1.base.names import printable, user_path
from tp1.config import tracked_reading
from tp1.data.image_digests import TRAINED_ON
from tp1.registry.predictor import (
    LOGGED_PROGRAM,
    PROGRAM,
    Predictor,
    is_run_id,
    is_stored,
    load_logged,
    load_predictor,
    read_facts,
)
from tp1.registry.stored_models import StoredModel, fetch, find_model, find_model_of_run
from tp1.registry.versions import Version
from tp1.store.reader import find_run


@dataclass(frozen=True)
class ExaminedModel:
    """A stored model.

    Attributes:
        title: What messages and pages call it, such as ``tp1-cifar10 version 3``.
        predictor: Its program.
        sha256: SHA-256 of the program's file.
        model_id: Its id in the tracking store; empty for a downloaded one.
        run_id, run_name: The run that trained it; empty if unknown.
        data_digest, split_digest: Of the data set that it was trained on; empty if unknown.
        reading: How that data set was read (:attr:`~tp1.config.TrainConfig.reading`); empty if unknown.
        trained_on: Digests of its training images; None if unknown.
        version: The registered version that it was looked up by; else None.
    """

    title: str
    predictor: Predictor
    sha256: str
    model_id: str = ""
    run_id: str = ""
    run_name: str = ""
    data_digest: str = ""
    split_digest: str = ""
    reading: dict[str, str] = field(default_factory=dict)
    trained_on: NDArray[np.uint64] | None = field(default=None, repr=False)
    version: Version | None = field(default=None, repr=False)

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict images of any size, resized as ``predict`` does it: uint8 (N, H, W, 3) -> float32 (N, classes)."""
        return self.predictor.probabilities(resized(images, self.predictor.image_shape))


def resized(images: NDArray[np.uint8], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Resize images to (H, W, 3) as for training; those that have this size are returned themselves."""
    if images.shape[1:] == shape:
        return images
    size = shape[1], shape[0]
    result = np.empty((len(images), *shape), np.uint8)
    for row, image in enumerate(images):
        result[row] = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    return result


def load_examined(model: str) -> ExaminedModel:
    """Load a model to examine it.

    Args:
        model: What :func:`~tp1.registry.predictor.load_predictor` takes.

    Raises:
        TP1Error: As there.
    """
    if is_stored(model):
        return _of_store(find_model_of_run(model) if is_run_id(model) else find_model(model))
    predictor = load_predictor(model)
    folder = user_path(model)
    facts = read_facts(folder)
    reading = facts.get("reading")
    return ExaminedModel(
        printable(model),
        predictor,
        digest(folder / PROGRAM),
        run_id=str(facts.get("run_id") or ""),
        run_name=printable(str(facts.get("run_name") or "")),
        data_digest=str(facts.get("data_digest") or ""),
        split_digest=str(facts.get("split_digest") or ""),
        reading=tracked_reading({k: str(v) for k, v in reading.items()}) if isinstance(reading, dict) else {},
    )


def _of_store(model: StoredModel) -> ExaminedModel:
    with TemporaryDirectory() as name:
        return examined(model, fetch(model, Path(name)))


def examined(model: StoredModel, path: Path) -> ExaminedModel:
    """Return a model of the store whose files lie in ``path``, checked.

    Raises:
        TP1Error: It was not made by this platform, or cannot be loaded.
    """
    predictor = load_logged(path, str(model))
    origin = origin_of(model)
    file = path / TRAINED_ON
    trained_on = np.load(file, allow_pickle=False) if file.is_file() else None
    sha256 = digest(path / LOGGED_PROGRAM)
    return ExaminedModel(
        title=str(model),
        predictor=predictor,
        sha256=sha256,
        model_id=model.model_id,
        run_id=model.run_id,
        run_name=origin.run_name,
        data_digest=origin.data_digest,
        split_digest=origin.split_digest,
        reading=origin.reading,
        trained_on=trained_on,
        version=model.version,
    )


@dataclass(frozen=True)
class Origin:
    """Which run trained a model, and on what; empty where that is unknown.

    Attributes:
        reading: How the data set was read (:attr:`~tp1.config.TrainConfig.reading`).
    """

    run_name: str
    data_digest: str
    split_digest: str
    reading: dict[str, str]


def origin_of(model: StoredModel) -> Origin:
    """Return a stored model's origin, from its run and, if that was deleted, from its version."""
    tags = dict(model.version.tags) if model.version else {}
    name, reading = "", dict[str, str]()
    if model.run_id:
        try:
            run = find_run(model.run_id)
        except TP1Error:  # it was deleted
            pass
        else:
            tags |= run.data.tags
            name, reading = printable(run.info.run_name or ""), tracked_reading(run.data.params)
    return Origin(name, tags.get("tp1.data_digest", ""), tags.get("tp1.split_digest", ""), reading)
