"""Download a stored model as a folder that works without MLflow: program, weights, labels, model card."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow.models import Model

from tp1.base.digests import digest
from tp1.base.errors import TP1Error
from tp1.base.folders import whole_folder
from tp1.experiment import Experiment
from tp1.registry.examined_model import origin_of
from tp1.registry.predictor import FORMAT, INFO, LOGGED_PROGRAM, PROGRAM
from tp1.registry.stored_models import StoredModel, fetch
from tp1.report.model_card import model_card
from tp1.store.records import make_record

CARD = "MODEL_CARD.md"
LABELS = "labels.txt"
# File name in the download: path in the model as MLflow stores it.
FILES = {PROGRAM: LOGGED_PROGRAM, "weights.safetensors": "extra_files/weights.safetensors"}


def download(model: StoredModel, known: Mapping[tuple[str, str], Experiment], target: Path) -> Path:
    """Write a model's files to a folder, all of them or none; return the folder.

    The files are ``model.pt2`` and ``weights.safetensors`` as stored, ``labels.txt`` with the class names in order of
    their numbers, ``MODEL_CARD.md``, and ``model.json`` with the model's origin, input, classes and file digests.

    Args:
        known: Experiments by name and configuration, for the card of a model that was never promoted.
        target: A new or empty folder, or an earlier download, which is replaced.

    Raises:
        TP1Error: The folder holds something else or cannot be written; or the model's files cannot be read, do not
            match their recorded digests, or have no recorded digests.
    """
    if not model.sha256:
        raise TP1Error(
            f"of {model} no digests were recorded, so that its files cannot be checked: promote it, or train it anew."
        )
    if target.resolve() == Path.cwd():
        raise TP1Error("the download would replace the folder that you are in: name a new one with to=.")
    if target.exists() and not (target / INFO).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise TP1Error(f"{target} is there and is no download: choose another folder with to=.")
    try:
        with TemporaryDirectory() as name, whole_folder(target) as partial:
            source = fetch(model, Path(name))
            metadata = Model.load(source).metadata or {}
            for here, there in FILES.items():
                shutil.copyfile(source / there, partial / here)
            classes = [str(label) for label in metadata["classes"]]
            origin = origin_of(model)
            (partial / LABELS).write_text("".join(f"{label}\n" for label in classes), encoding="utf-8")
            (partial / CARD).write_text(
                _card(model, known, metadata, (source / LOGGED_PROGRAM).stat().st_size), encoding="utf-8"
            )
            info = {
                "format": FORMAT,
                "name": model.version.name if model.version else model.model_id,
                "version": model.version.number if model.version else None,
                "run_id": model.run_id,
                "dataset": metadata["dataset"],
                "run_name": origin.run_name,
                "data_digest": origin.data_digest,
                "split_digest": origin.split_digest,
                "reading": origin.reading,
                "image_shape": metadata["image_shape"],
                "network_image_size": metadata.get("network_image_size", 0),
                "classes": classes,
                "sha256": {file: digest(partial / file) for file in (*FILES, LABELS)},
            }
            (partial / INFO).write_text(json.dumps(info, indent=1) + "\n", encoding="utf-8")
    except KeyError as error:
        raise TP1Error(f"{model} was not made by this platform: it does not say its {error}.") from error
    except OSError as error:
        raise TP1Error(f"cannot write to {target}: {error.strerror}. Choose another folder with to=.") from error
    return target


def _card(model: StoredModel, known: Mapping[tuple[str, str], Experiment], metadata: dict[str, Any], size: int) -> str:
    if model.version is not None and model.version.description:
        return model.version.description
    height, width, channels = metadata["image_shape"]
    record = make_record(model.run_id, histories=False)
    experiment = known.get((record.tags.get("tp1.experiment", ""), record.tags.get("tp1.configuration", "")))
    return model_card(model.model_id, record, experiment, (height, width, channels), size)
