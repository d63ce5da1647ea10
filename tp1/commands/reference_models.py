"""The model beside a record: its weights in half precision, small enough for version control, and the way back.

``weights.safetensors`` holds the model's state, its matrices and filters in float16, and the test accuracy that was
measured with these. ``probe.npz`` holds a few test images and the probabilities that the model with these weights gave
for them: one that is built again must give the same.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import safetensors
import safetensors.torch
import torch
from mlflow import MlflowClient
from mlflow.models import Model
from numpy.typing import NDArray

from tp1.base.digests import DIGESTS_TAG, as_tag, file_digests
from tp1.base.errors import TP1Error
from tp1.commands.reference import PROBE, WEIGHTS
from tp1.data.class_names import label_names
from tp1.data.dataset import ImageData
from tp1.experiment import Experiment
from tp1.models.build import rebuild
from tp1.models.classifier import ImageModel
from tp1.registry.lock import promotion_lock
from tp1.registry.predictor import LOGGED_PROGRAM
from tp1.registry.stored_models import GoneError, StoredModel, fetch, find_model_of_run
from tp1.registry.versions import (
    CHAMPION,
    Version,
    describe,
    find_version,
    make_champion,
    now,
    register,
    registered_name,
    who,
)
from tp1.report.model_card import model_card
from tp1.store.records import RunRecord
from tp1.tracking.model_files import save_classifier, send_model
from tp1.training.inference import evaluate

ACCURACY = "test_accuracy"  # in the weights' metadata
LOSS = 0.002  # of test accuracy that half precision may cost
HALF = 0.03  # of a probability, that half precision may change
TOLERANCE = 1e-3  # of a probability, between two machines
FEW = 1000  # tensors of fewer values stay float32: normalisation and batch norm's statistics may not fit float16
PER_CLASS, MOST = 2, 40  # images of the probe


def model_files(record: RunRecord, experiment: Experiment, data: ImageData) -> dict[str, bytes]:
    """Return the files to keep beside a record, so that its model can be built again.

    Args:
        data: The data set that the run was trained on.

    Raises:
        TP1Error: The run's model cannot be read, the data are others, or half precision costs too much accuracy.
    """
    digests = record.tags.get("tp1.data_digest"), record.tags.get("tp1.split_digest")
    if digests != (data.digest, data.split_digest):
        raise TP1Error(
            f"{record.name} was trained on other data ({' '.join(map(str, digests))}) than {data.name} in "
            f"{data.origin} ({data.digest} {data.split_digest}): give their folder with --data-dir."
        )
    with TemporaryDirectory() as folder:
        path = fetch(find_model_of_run(record.run_id), Path(folder)) / "extra_files" / WEIGHTS
        state = safetensors.torch.load_file(path)
    small = {name: value.half() if _is_large(value) else value for name, value in state.items()}
    model = _rebuild(record, experiment, small)
    accuracy = evaluate(model.as_served(), data.test, data.classes).accuracy
    recorded = record.metrics["test/accuracy"][-1][2]
    if abs(accuracy - recorded) > LOSS:
        raise TP1Error(
            f"{record.name} has a test accuracy of {recorded:.4f}, and of {accuracy:.4f} with its weights in half "
            "precision: they cannot be kept so."
        )
    rows = np.concatenate([np.flatnonzero(data.test.labels == label)[:PER_CLASS] for label in range(len(data.classes))])
    rows = rows[:MOST]
    images, index = data.test.images[rows], data.test.index[rows]
    given = _probabilities(model, images)
    table = pd.read_parquet(io.BytesIO(record.files["predictions.parquet"])).set_index("index")
    of_run = table.loc[index, list(label_names(model.classes))].to_numpy()
    if (difference := float(np.abs(of_run - given).max())) > HALF:
        raise TP1Error(
            f"{record.name} gives other probabilities with its weights in half precision, or in this code: one differs "
            f"by {difference:.3f}. They cannot be kept so."
        )
    probe = io.BytesIO()
    np.savez_compressed(probe, images=images, probabilities=given)
    content = safetensors.torch.save(small, {"classes": json.dumps(data.classes), ACCURACY: f"{accuracy:.4f}"})
    return {WEIGHTS: content, PROBE: probe.getvalue()}


def restore_model(record: RunRecord, files: Mapping[str, bytes], experiment: Experiment, run_id: str) -> StoredModel:
    """Return the model of the run that was loaded from a record; build it again and log it if it is not there yet.

    Args:
        files: What :func:`model_files` returned.
        run_id: The run in the store in use.

    Raises:
        TP1Error: The files are damaged, or the model that comes out is not the record's.
    """
    client = MlflowClient()
    with TemporaryDirectory() as folder:
        try:
            stored = find_model_of_run(run_id)
            path = fetch(stored, Path(folder) / "there")
            if stored.sha256:
                return stored
        except GoneError:  # not begun, or not ended
            client.set_tag(run_id, DIGESTS_TAG, as_tag({}))  # those in the record are of the original's files
            _build(client, record, files, experiment, run_id, Path(folder) / "model")
            stored = find_model_of_run(run_id)
            path = fetch(stored, Path(folder) / "new")
        client.set_tag(run_id, DIGESTS_TAG, as_tag(file_digests(path)))
    return find_model_of_run(run_id)


def register_champion(record: RunRecord, experiment: Experiment, model: StoredModel) -> Version | None:
    """Make a record's model champion of its data set; None if the data set has a champion, which stays."""
    name = registered_name(record.tags["tp1.dataset"])
    with promotion_lock(name) as lock, TemporaryDirectory() as folder:
        if find_version(name, CHAMPION) is not None:
            return None
        path = fetch(model, Path(folder))
        shape = (Model.load(path).metadata or {})["image_shape"]
        size = (path / LOGGED_PROGRAM).stat().st_size
        lock.check()
        version = register(name, model.run_id, model.model_id)
        tags = {
            "tp1.decided_by": who(),
            "tp1.decided_at": now(),
            "tp1.run_id": model.run_id,
            "tp1.verdict": CHAMPION,
            "tp1.replaced": "",
            "tp1.val_accuracy": f"{record.metrics['best/val_accuracy'][-1][2]:.4f}",
            "tp1.data_digest": record.tags["tp1.data_digest"],
            "tp1.split_digest": record.tags["tp1.split_digest"],
            DIGESTS_TAG: as_tag(model.sha256),
        }
        reason = f"Loaded from the record {record.name} by {tags['tp1.decided_by']}, {tags['tp1.decided_at']}, as the "
        card = model_card(str(version), record, experiment, shape, size, promotion=f"{reason}first champion.")
        describe(version, card, tags)
        lock.check()
        make_champion(version)
    return version


def _build(
    client: MlflowClient,
    record: RunRecord,
    files: Mapping[str, bytes],
    experiment: Experiment,
    run_id: str,
    folder: Path,
) -> None:
    """Build the model again and log it as the run's."""
    try:
        state = safetensors.torch.load(files[WEIGHTS])
    except (safetensors.SafetensorError, ValueError) as error:
        raise TP1Error(f"cannot read {WEIGHTS} of {record.name}: restore it from version control.") from error
    model = _rebuild(record, experiment, state)
    images = _check_probe(record, model, files[PROBE])
    side = int(_config(record)["config"]["image_size"])
    save_classifier(model, images[:2], None, record.tags["tp1.dataset"], side, run_id, folder)
    send_model(client, run_id, folder)


def _is_large(value: torch.Tensor) -> bool:
    return value.is_floating_point() and value.numel() >= FEW


def _config(record: RunRecord) -> dict[str, dict[str, str]]:
    config: dict[str, dict[str, str]] = json.loads(record.files["config.json"])
    return config


def _rebuild(record: RunRecord, experiment: Experiment, state: Mapping[str, torch.Tensor]) -> ImageModel:
    config = _config(record)
    whole = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    values = config["config"]
    return rebuild(experiment, tuple(config["classes"]), int(values["image_size"]), float(values["dropout"]), whole)


def _check_probe(record: RunRecord, model: ImageModel, probe: bytes) -> NDArray[np.uint8]:
    """Raise TP1Error unless the model gives the probabilities of the probe for its images; return these."""
    try:
        with np.load(io.BytesIO(probe), allow_pickle=False) as file:
            images: NDArray[np.uint8] = file["images"]
            difference = float(np.abs(_probabilities(model, images) - file["probabilities"]).max())
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise TP1Error(f"cannot read {PROBE} of {record.name}: restore it from version control.") from error
    if not difference <= TOLERANCE:
        raise TP1Error(
            f"the model built from {WEIGHTS} of {record.name} is not the recorded one: a probability differs by "
            f"{difference:.3f}. Its network in this code is another, or the file is damaged."
        )
    return images


def _probabilities(model: ImageModel, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    with torch.inference_mode():
        probabilities: NDArray[np.float32] = model.eval()(torch.from_numpy(images)).numpy()
    return probabilities
