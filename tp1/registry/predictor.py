"""Load a trained model for prediction, from the tracking store or from a folder that ``download`` wrote."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from tp1.base.digests import check_digests
from tp1.base.errors import TP1Error, why
from tp1.base.names import is_file, is_folder, user_path
from tp1.data.stored import ImageArray

if TYPE_CHECKING:
    from torch import nn

INFO = "model.json"  # in a folder that download wrote: description of the model, with digests
FORMAT = 1  # version of the format of model.json
PROGRAM = "model.pt2"
LARGEST = 16_384  # pixels per side: a model with larger input images is refused
LOGGED_PROGRAM = f"data/{PROGRAM}"  # path of the program in a model folder as MLflow logs it


@dataclass(frozen=True)
class Predictor:
    """A trained model for images of one size.

    Attributes:
        dataset: Name of the data set that it was trained on.
        classes: Names of the classes, by class number.
        image_shape: (H, W, 3) of its input images.
        program: uint8 (N, H, W, 3) -> float32 probabilities (N, classes).
        network_image_size: Pixels per side that the network inside takes; 0: not known.
    """

    dataset: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    program: nn.Module = field(repr=False)
    network_image_size: int = 0

    def probabilities(self, images: ImageArray) -> NDArray[np.float32]:
        """Predict: uint8 RGB (N, H, W, 3), any N -> float32 probabilities (N, classes).

        Raises:
            TP1Error: An answer is NaN or infinity.
        """
        import torch

        from tp1.training.inference import evaluation_batch

        size = evaluation_batch(self.network_image_size)
        result = np.empty((len(images), len(self.classes)), np.float32)
        with torch.inference_mode():
            for start in range(0, len(images), size):
                part = slice(start, start + size)
                answer = self.program(torch.from_numpy(images[part]))
                if answer.shape != result[part].shape:  # numpy would broadcast a single column
                    raise ValueError(f"{tuple(answer.shape)} probabilities, not {result[part].shape}")
                result[part] = answer.numpy()
        if not np.isfinite(result).all():
            raise TP1Error("the model answers with NaN or infinity: train it anew, with a smaller learning_rate.")
        return result


def load_predictor(model: str) -> Predictor:
    """Load the model that ``model`` names; with torch 2.10 or later, refuse one that holds a pickle.

    Args:
        model: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``models:/m-ID`` or the id of the run that trained it,
            in a prepared store; or a folder that ``download`` wrote.

    Raises:
        TP1Error: There is no such model, one of its files is missing or does not match its recorded digest, or it was
            not made by this platform.
    """
    if is_stored(model):
        return _from_store(model)
    folder = user_path(model)
    if not is_folder(folder):
        raise TP1Error(
            f"no model {model}: give models:/NAME@ALIAS, models:/NAME/VERSION, the models:/m-... that a run printed, "
            "a run's id, or a folder that download wrote."
        )
    return _from_folder(folder)


def is_stored(model: str) -> bool:
    """Whether ``model`` names a model in the tracking store, by a name of its own or by its run, not a folder."""
    return model.startswith("models:") or is_run_id(model)


def is_run_id(model: str) -> bool:
    """Whether ``model`` is a run's id; a folder of such a name is given as a path: ``./NAME``."""
    return re.fullmatch("[0-9a-f]{32}", model) is not None


def load_logged(folder: Path, what: str) -> Predictor:
    """Load a model from a folder as MLflow logs it; the caller has checked the files.

    Args:
        what: The model's name in messages.

    Raises:
        TP1Error: It was not made by this platform, or cannot be loaded.
    """
    from mlflow.models import Model

    return _predictor(Model.load(str(folder)).metadata, what, folder / LOGGED_PROGRAM)


def _from_store(model: str) -> Predictor:
    from tp1.registry.stored_models import fetch, find_model, find_model_of_run

    found = find_model_of_run(model) if is_run_id(model) else find_model(model)
    with TemporaryDirectory() as name:
        return load_logged(fetch(found, Path(name)), f"the model {model}")


def _from_folder(folder: Path) -> Predictor:
    facts = read_facts(folder)
    check_digests(folder, facts["sha256"], f"the model in {folder}", "download it anew")
    return _predictor(facts, f"the model in {folder}", folder / PROGRAM)


def read_facts(folder: Path) -> dict[str, Any]:
    """Read the ``model.json`` of a downloaded model; check its format and the file names in ``sha256``.

    Raises:
        TP1Error: There is none, or it is not as ``download`` writes it.
    """
    path = folder / INFO
    if path.exists() and not is_file(path):
        raise TP1Error(f"cannot read {path} (it is no file): give a folder that download wrote.")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else why(error)
        raise TP1Error(f"cannot read {path} ({reason}): give a folder that download wrote.") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise TP1Error(f"{path} is not of format {FORMAT}: download the model anew, with this version of the platform.")
    recorded = facts.get("sha256")
    if not isinstance(recorded, dict) or PROGRAM not in recorded or not _is_list([*recorded.values()], str):
        raise TP1Error(f"{path} has no SHA-256 of {PROGRAM}: download the model anew.")
    for name in recorded:
        if name in ("", ".", "..") or "/" in name or "\\" in name:
            raise TP1Error(f"{path} names the file {name!r}, which is not in its folder: download the model anew.")
    return facts


def _predictor(facts: Mapping[str, Any] | None, what: str, program: Path) -> Predictor:
    facts = facts or {}
    classes, shape = facts.get("classes"), facts.get("image_shape")
    if not (_is_list(classes, str) and _is_list(shape, int) and len(shape) == 3 and shape[2] == 3):
        raise TP1Error(f"{what} was not made by this platform: it does not say which classes and images it knows.")
    if not all(1 <= side <= LARGEST for side in shape):
        raise TP1Error(f"{what} is refused: it says that it takes images of {shape[1]}x{shape[0]} pixels.")
    if not program.is_file():
        raise TP1Error(f"{what} was not made by this platform: it has no {PROGRAM}.")
    inside = facts.get("network_image_size", 0)  # earlier downloads do not say it
    predictor = Predictor(
        dataset=str(facts.get("dataset", "")),
        classes=tuple(classes),
        image_shape=(shape[0], shape[1], shape[2]),
        program=_load(program, what),
        network_image_size=inside if type(inside) is int and inside > 0 else 0,
    )
    _try(predictor, what)
    return predictor


def _try(predictor: Predictor, what: str) -> None:
    """Predict a black image, so that a program that contradicts its description fails before images are read."""
    try:
        predictor.probabilities(np.zeros((1, *predictor.image_shape), np.uint8))
    except TP1Error as error:
        raise TP1Error(f"{what} is refused: it answers with NaN or infinity.") from error
    except Exception as error:  # torch raises many types
        reason = why(error)
        raise TP1Error(
            f"{what} is refused: it does not take the images, or know the classes, it names ({reason})."
        ) from error


def _is_list(value: Any, kind: type) -> TypeGuard[list[Any]]:
    return isinstance(value, list) and bool(value) and all(type(item) is kind for item in value)


def _load(program: Path, what: str) -> nn.Module:
    import torch
    from mlflow.pytorch import _validate_pt2_archive_is_pickle_free

    # A pt2 archive can hold pickles, and torch.export.load would run them. MLflow checks it only where pickles are
    # forbidden.
    try:
        _validate_pt2_archive_is_pickle_free(str(program))
    except Exception as error:  # MlflowException for a pickle, and whatever zipfile and json raise
        raise TP1Error(f"{what} is refused: {PROGRAM} is damaged or holds a pickle, which could run code.") from error
    log = logging.getLogger("torch.export")  # it would print a traceback; the error below is one line
    was_disabled, log.disabled = log.disabled, True
    try:
        loaded: nn.Module = torch.export.load(program).module()
    except Exception as error:  # torch raises many types
        reason = why(error)
        raise TP1Error(f"cannot load {what}: {reason}.") from error
    finally:
        log.disabled = was_disabled
    return loaded
