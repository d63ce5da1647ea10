"""Find trained weights (parameter ``weights``) and load them into a network."""

import hashlib
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import safetensors.torch
import torch
from torch import nn

from tp1.base.errors import TP1Error, why
from tp1.base.names import is_file, user_path

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET_NAMES = {"alexnet": "AlexNet_Weights.IMAGENET1K_V1", "mobilenet_v2": "MobileNet_V2_Weights.IMAGENET1K_V2"}
MOST_NAMED = 8  # layers named in a mismatch; the others are counted


@dataclass(frozen=True)
class Weights:
    """The weights of one network and the normalisation that they expect.

    Attributes:
        source: The source, as the parameter ``weights`` names it.
        state: Tensors by layer name, as torchvision and this platform name them: ``features.*`` are the convolutions.
        mean, std: Of channels R, G and B on a scale of 0 to 1.
    """

    source: str
    state: dict[str, torch.Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def is_trunk_alone(self) -> bool:
        """Whether the source holds convolutions and no classifier, from which a head could start."""
        return all(key.startswith(("features.", "preparation.")) for key in self.state)


def find_weights(
    given: str, networks: Sequence[str], download: Callable[[str, Path], Path]
) -> tuple[Weights | None, ...]:
    """Find the weights that the parameter ``weights`` names: one for each network, None for ``none``.

    Args:
        given: One source for all networks, or one for each, separated by commas. A source is ``none``, ``imagenet``,
            a ``.safetensors``, ``.pth`` or ``.pt`` file, or ``models:/...``, a model of this platform.
        networks: Names of the networks that the weights are for.
        download: Downloads a stored model's weights file, given its URI and a folder; returns the path.

    Raises:
        TP1Error: The number of sources does not match the networks, or a source cannot be read.
    """
    sources = [given] if len(networks) == 1 else [source.strip() for source in given.split(",")]
    if len(sources) == 1:
        sources *= len(networks)
    if len(sources) != len(networks):
        raise TP1Error(
            f"weights={given} names {len(sources)} sources: give one for all, or one each for "
            f"{', '.join(networks)}, separated by commas."
        )
    return tuple(_find(source, network, download) for source, network in zip(sources, networks, strict=True))


def _find(source: str, network: str, download: Callable[[str, Path], Path]) -> Weights | None:
    if source == "none":
        return None
    if source == "imagenet":
        if network not in IMAGENET_NAMES:
            raise TP1Error(f"weights=imagenet: there are none for {network}, only for {' and '.join(IMAGENET_NAMES)}.")
        return imagenet_weights(network)
    if source.startswith("models:/"):
        with TemporaryDirectory() as folder:
            return file_weights(download(source, Path(folder)), network, source)
    return file_weights(user_path(source), network, source)


def imagenet_weights(architecture: str) -> Weights:
    """Load torchvision's ImageNet weights and their normalisation; downloaded once, with a progress bar.

    Raises:
        TP1Error: They are not in torch's cache and cannot be downloaded.
    """
    from torchvision import models  # here, because the import takes seconds (see networks)

    enum = models.get_weight(IMAGENET_NAMES[architecture])
    try:
        state = enum.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise TP1Error(
            f"the ImageNet weights of {architecture} could not be downloaded from {enum.url} ({why(error)}): "
            "get them from there and give weights=FILE, or a model as weights=models:/NAME@ALIAS."
        ) from error
    transforms = enum.transforms()
    return Weights("imagenet", dict(state), tuple(transforms.mean), tuple(transforms.std))


def file_weights(path: Path, architecture: str, source: str) -> Weights:
    """Load weights from a ``.safetensors``, ``.pth`` or ``.pt`` file, without running any code in it.

    A file of this platform contains its normalisation; for any other, ImageNet's is assumed, as for torchvision's.

    Raises:
        TP1Error: The file is missing, damaged, of another type, or holds more than tensors.
    """
    if not is_file(path):
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
    except TP1Error:
        raise
    except Exception as error:  # torch raises many types, such as MemoryError for a declared tensor size
        reason = why(error)
        raise TP1Error(f"cannot read weights file {path}: it is damaged ({reason}).") from error
    if not isinstance(state, Mapping) or not all(isinstance(key, str) and _is_plain(state[key]) for key in state):
        raise TP1Error(f"weights file {path} is no state dict: it must hold tensors by layer name.")
    return _from_state(source, dict(state), architecture)


def _from_state(source: str, state: dict[str, torch.Tensor], architecture: str) -> Weights:
    """Convert a state dict with torchvision's names, or with this platform's, which add a prefix to them."""
    for prefix, preparation in (
        ("net.", "preparation."),
        (f"trunks.{architecture}.", f"trunks.{architecture}.preparation."),
    ):
        if f"{preparation}scale" in state:
            _check_preparation(source, state.get(f"{preparation}scale"), state.get(f"{preparation}shift"))
            mean, std = _normalisation(state[f"{preparation}scale"], state[f"{preparation}shift"])
            inner = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            return Weights(source, inner, mean, std)
    return Weights(source, state, IMAGENET_MEAN, IMAGENET_STD)


def _check_preparation(source: str, *buffers: torch.Tensor | None) -> None:
    """Refuse a damaged normalisation: scale and shift must be three finite numbers each, and no scale zero."""
    for buffer in buffers:
        if buffer is None or not buffer.is_floating_point() or buffer.numel() != 3 or not is_finite(buffer):
            raise TP1Error(f"weights={source} have a damaged normalisation: it must be three numbers, scale and shift.")
    if buffers[0] is not None and not buffers[0].all():
        raise TP1Error(f"weights={source} have a damaged normalisation: its scale is zero.")


def _is_plain(value: object) -> bool:
    """Whether it is a dense CPU tensor: not sparse, quantized or without data (device ``meta``)."""
    if not isinstance(value, torch.Tensor):
        return False
    return value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized


def storable(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors as a safetensors file takes them: on the CPU, contiguous, none in the memory of another.

    Layers that share a weight have it twice in their state; one of them becomes a copy.
    """
    seen: set[int] = set()
    result = {}
    for name, value in state.items():
        tensor = value.detach().cpu().contiguous()
        memory = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if memory in seen else tensor
        seen.add(memory)
    return result


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether no value is NaN or infinite."""
    return bool(torch.isfinite(tensor.float() if tensor.is_floating_point() else tensor).all())


def _normalisation(scale: torch.Tensor, shift: torch.Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Recover mean and standard deviation from a Preparation's buffers, rounded to six digits, their precision."""
    std = 1 / (255 * scale.double().flatten())
    mean = -shift.double().flatten() * std
    return tuple(round(value, 6) for value in mean.tolist()), tuple(round(value, 6) for value in std.tolist())


def features_digest(features: Mapping[str, torch.Tensor]) -> str:
    """Return a digest of convolution weights (names, types, shapes and values): 16 hex digits."""
    digest = hashlib.sha256()
    for key, value in sorted(features.items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def load_features(features: nn.Module, weights: Weights) -> None:
    """Load the convolution weights into ``features``, all of them or none.

    Raises:
        TP1Error: They do not fit (the message names the layers that differ), or hold NaN or infinity.
    """
    wanted = features.state_dict()
    found = {
        key.removeprefix("features."): value for key, value in weights.state.items() if key.startswith("features.")
    }
    there = {_layer(key) for key in found}
    lacking = dict.fromkeys(key if _layer(key) in there else _layer(key) for key in wanted if key not in found)
    differences = [f"{layer} is missing" for layer in lacking]
    differences += [f"{key} is not in the network" for key in found if key not in wanted]
    differences += [
        f"{key} is {_shape(found[key])}, not {_shape(wanted[key])}"
        for key in wanted
        if key in found and found[key].shape != wanted[key].shape
    ]
    differences += [
        f"{key} holds {str(found[key].dtype).removeprefix('torch.')}, not {str(value.dtype).removeprefix('torch.')}"
        for key, value in wanted.items()
        if key in found and found[key].is_floating_point() != value.is_floating_point()
    ]
    if differences:
        named = "; ".join(f"features.{difference}" for difference in differences[:MOST_NAMED])
        more = f"; and {len(differences) - MOST_NAMED} more" if len(differences) > MOST_NAMED else ""
        raise TP1Error(f"weights={weights.source} do not fit the network: {named}{more}.")
    if broken := [key for key, value in found.items() if not is_finite(value)]:
        raise TP1Error(f"weights={weights.source} are damaged: features.{broken[0]} holds NaN or infinity.")
    features.load_state_dict(found)


def _layer(key: str) -> str:
    return key.rpartition(".")[0]


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(str(size) for size in tensor.shape) or "a number"
