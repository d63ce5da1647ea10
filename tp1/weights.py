"""Trained weights from wherever they are, and how they get into a network (parameter ``weights``)."""

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from tp1.errors import TP1Error

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET_NAMES = {"alexnet": "AlexNet_Weights.IMAGENET1K_V1", "mobilenet_v2": "MobileNet_V2_Weights.IMAGENET1K_V2"}
MOST_NAMED = 4  # layers named in a mismatch; the others are counted


@dataclass(frozen=True)
class Weights:
    """The weights of one network and the normalisation that they expect.

    Attributes:
        source: What ``weights`` said.
        state: By torchvision's or this platform's names: ``features.*`` are the convolutions.
        mean, std: Of channels R, G and B on a scale of 0 to 1.
    """

    source: str
    state: dict[str, torch.Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def imagenet_weights(architecture: str) -> Weights:
    """Torchvision's ImageNet weights with the normalisation of their own transforms; downloaded once, with progress.

    Raises:
        TP1Error: They are not in torch's cache and cannot be downloaded.
    """
    from torchvision import models  # here, for it takes seconds: see networks

    enum = models.get_weight(IMAGENET_NAMES[architecture])
    try:
        state = enum.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise TP1Error(
            f"the ImageNet weights of {architecture} could not be downloaded from {enum.url} ({error}): "
            "get them from there and give weights=FILE, or a model as weights=models:/NAME@ALIAS."
        ) from error
    transforms = enum.transforms()
    return Weights("imagenet", dict(state), tuple(transforms.mean), tuple(transforms.std))


def file_weights(path: Path, architecture: str, source: str) -> Weights:
    """Weights from a ``.safetensors`` file, or from a ``.pth`` file that is read without running any code in it.

    A file of this platform brings its normalisation; any other is taken for ImageNet's, as torchvision's are.

    Raises:
        TP1Error: The file is missing, damaged, or of a kind that could run code.
    """
    if not path.is_file():
        raise TP1Error(f"no weights file {path}: check weights=.")
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        elif path.suffix in (".pth", ".pt"):
            state = torch.load(path, map_location="cpu", weights_only=True)
        else:
            raise TP1Error(f"weights file {path} is neither .safetensors nor .pth.")
    except pickle.UnpicklingError as error:
        raise TP1Error(f"weights file {path} holds more than tensors and is not read: give a state dict.") from error
    except (OSError, RuntimeError, ValueError, EOFError, safetensors.SafetensorError) as error:
        raise TP1Error(f"cannot read weights file {path}: {str(error).splitlines()[0]}.") from error
    if not isinstance(state, Mapping) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise TP1Error(f"weights file {path} is no state dict: it must hold tensors by layer name.")
    return _from_state(source, dict(state), architecture)


def _from_state(source: str, state: dict[str, torch.Tensor], architecture: str) -> Weights:
    """Weights from a state dict by torchvision's names, or by this platform's, which wrap them."""
    for prefix, preparation in (
        ("net.", "preparation."),
        (f"trunks.{architecture}.", f"trunks.{architecture}.preparation."),
    ):
        if f"{preparation}scale" in state:
            mean, std = _normalisation(state[f"{preparation}scale"], state[f"{preparation}shift"])
            inner = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            return Weights(source, inner, mean, std)
    return Weights(source, state, IMAGENET_MEAN, IMAGENET_STD)


def _normalisation(scale: torch.Tensor, shift: torch.Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation that a Preparation's buffers were made of, to the six digits they carry."""
    std = 1 / (255 * scale.double().flatten())
    mean = -shift.double().flatten() * std
    return tuple(round(value, 6) for value in mean.tolist()), tuple(round(value, 6) for value in std.tolist())


def features_digest(features: Mapping[str, torch.Tensor]) -> str:
    """16 hex digits that tell the weights of convolutions apart: of names, shapes and values."""
    digest = hashlib.sha256()
    for key, value in sorted(features.items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def load_features(features: nn.Module, weights: Weights) -> None:
    """Put the weights of the convolutions into ``features``; whole, or not at all.

    Raises:
        TP1Error: They do not fit; the message names the layers that differ.
    """
    wanted = features.state_dict()
    found = {
        key.removeprefix("features."): value for key, value in weights.state.items() if key.startswith("features.")
    }
    differences = [f"{key} is missing" for key in wanted if key not in found]
    differences += [f"{key} is not in the network" for key in found if key not in wanted]
    differences += [
        f"{key} is {_shape(found[key])}, not {_shape(wanted[key])}"
        for key in wanted
        if key in found and found[key].shape != wanted[key].shape
    ]
    if differences:
        named = "; ".join(f"features.{difference}" for difference in differences[:MOST_NAMED])
        more = f"; and {len(differences) - MOST_NAMED} more" if len(differences) > MOST_NAMED else ""
        raise TP1Error(f"weights={weights.source} do not fit the network: {named}{more}.")
    features.load_state_dict(found)


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(str(size) for size in tensor.shape) or "a number"
