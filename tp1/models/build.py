"""From an experiment and its configuration to a model, with whatever weights it starts from."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from tp1.base.errors import TP1Error
from tp1.base.names import user_path
from tp1.config import TrainConfig
from tp1.data.dataset import ImageData
from tp1.experiment import Experiment, Transfer
from tp1.models.classifier import Classifier, ImageModel, Preparation
from tp1.models.transfer import TransferClassifier, build_transfer
from tp1.models.weights import IMAGENET_NAMES, Weights, features_digest, file_weights, imagenet_weights, load_features
from tp1.store.runs import download_weights


@dataclass(frozen=True)
class Built:
    """A model and what is to be logged of how it was made.

    Attributes:
        digests: Of the trunks' weights, in their order; empty where nothing is frozen.
        facts: Parameters of the run.
    """

    model: ImageModel
    digests: tuple[str, ...]
    facts: dict[str, str]


def build(experiment: Experiment, config: TrainConfig, data: ImageData, image_size: int) -> Built:
    """The experiment's model for the classes of ``data``.

    Weights bring the normalisation that they were trained with; without weights it is that of the training images.

    Raises:
        TP1Error: ``weights`` cannot be had or do not fit, or ``image_size`` is too small.
    """
    if isinstance(experiment.model, Transfer):
        return _build_transfer(experiment.model, config, data, image_size)
    net = experiment.model(len(data.classes), image_size, config.dropout)
    weights = get_weights(config.weights, experiment.model_name)
    mean, std = (weights.mean, weights.std) if weights else (data.mean, data.std)
    facts = {"normalisation_mean": _numbers(mean), "normalisation_std": _numbers(std)}
    if weights is not None:
        if not isinstance(features := getattr(net, "features", None), nn.Module):
            raise TP1Error(f"weights={config.weights}: {experiment.model_name} has no module `features` to take them.")
        load_features(features, weights)
        facts["weights_digest"] = features_digest(features.state_dict())
    return Built(Classifier(net, data.classes, Preparation(image_size, mean, std)), (), facts)


def _build_transfer(transfer: Transfer, config: TrainConfig, data: ImageData, image_size: int) -> Built:
    specs = [spec.strip() for spec in config.weights.split(",")]
    if len(specs) == 1:
        specs *= len(transfer.trunks)
    if len(specs) != len(transfer.trunks):
        raise TP1Error(
            f"weights={config.weights} names {len(specs)} sources: give one for all, or one each for "
            f"{', '.join(transfer.trunks)}, separated by commas."
        )
    found = [get_weights(spec, trunk) for spec, trunk in zip(specs, transfer.trunks, strict=True)]
    norms = [(weights.mean, weights.std) if weights else (data.mean, data.std) for weights in found]
    model = build_transfer(transfer, [Preparation(image_size, *norm) for norm in norms], data.classes, config.dropout)
    digests = []
    for trunk, weights in zip(model.ordered_trunks, found, strict=True):
        if weights is not None:
            load_features(trunk.features, weights)
        digests.append(features_digest(trunk.features.state_dict()))
    hidden = _load_hidden_layers(model, found[0]) if len(found) == 1 and found[0] is not None else 0
    facts = {
        "normalisation_mean": "; ".join(dict.fromkeys(_numbers(mean) for mean, _ in norms)),
        "normalisation_std": "; ".join(dict.fromkeys(_numbers(std) for _, std in norms)),
        "weights_digest": ", ".join(digests),
        "head_layers_from_weights": str(hidden),
    }
    return Built(model, tuple(digests), facts)


def get_weights(spec: str, architecture: str) -> Weights | None:
    """The weights that one ``weights=`` source names, or None for ``none``.

    Args:
        spec: ``none``, ``imagenet``, a ``.safetensors`` or ``.pth`` file, or ``models:/...``: a model of this platform.
        architecture: Of the network that they are for.

    Raises:
        TP1Error: They are not there, or cannot be read.
    """
    if spec == "none":
        return None
    if spec == "imagenet":
        if architecture not in IMAGENET_NAMES:
            raise TP1Error(
                f"weights=imagenet: there are none for {architecture}, only for {' and '.join(IMAGENET_NAMES)}."
            )
        return imagenet_weights(architecture)
    if spec.startswith("models:/"):
        with TemporaryDirectory() as folder:
            return file_weights(download_weights(spec, Path(folder)), architecture, spec)
    return file_weights(user_path(spec), architecture, spec)


def _load_hidden_layers(model: TransferClassifier, weights: Weights) -> int:
    """Start the head's layers from the weights' classifier too, where they fit; return how many.

    The last is always new, for its classes are.

    AlexNet has two hidden dense layers that were trained with its convolutions; like the report, only the
    last layer is replaced. Weights of other heads are left out.
    """
    state = model.head.state_dict()
    loaded: set[int] = set()
    last = max((int(key.split(".")[0]) for key in state), default=-1)
    for key, value in state.items():
        number, name = key.split(".", 1)
        # The head is a flattening followed by the classifier: its layers stand one further.
        given = weights.state.get(f"classifier.{int(number) - 1}.{name}")
        if int(number) != last and given is not None and given.shape == value.shape:
            value.copy_(given)
            loaded.add(int(number))
    return len(loaded)


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)
