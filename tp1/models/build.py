"""Build an experiment's model for a data set, with its initial weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from tp1.base.errors import TP1Error, why
from tp1.base.progress import say
from tp1.data.dataset import ImageData
from tp1.experiment import Experiment, Transfer
from tp1.models.classifier import Classifier, ImageModel, Preparation
from tp1.models.folded import is_folded, unfold
from tp1.models.transfer import TransferClassifier, build_transfer
from tp1.models.weights import Weights, features_digest, is_finite, load_features

SAMPLE = 512  # training images that initial weights are set from


@runtime_checkable
class StartsFromImages(Protocol):
    """A network whose initial weights depend on the training images."""

    def start_from(self, images: torch.Tensor) -> None:
        """Set the initial weights.

        Args:
            images: float32 (N, 3, S, S), normalised: some hundred training images of all classes.
        """


@dataclass(frozen=True)
class Built:
    """A model, and the facts about it to log.

    Attributes:
        digests: Digests of the trunks' weights, in the order of the trunks; empty if nothing is frozen.
        facts: Parameters to log with the run.
    """

    model: ImageModel
    digests: tuple[str, ...]
    facts: dict[str, str]


def build(
    experiment: Experiment, data: ImageData, image_size: int, dropout: float, weights: Sequence[Weights | None]
) -> Built:
    """Build the experiment's model for the classes of ``data``.

    Args:
        image_size: Pixels per side of the network's input.
        weights: Initial weights of each of the experiment's networks; None: random. Weights come with the
            normalisation that they were trained with; random weights use that of the training images.

    Raises:
        TP1Error: The weights do not fit, or ``image_size`` is too small.
    """
    if isinstance(experiment.model, Transfer):
        return _build_transfer(experiment.model, data, image_size, dropout, weights)
    (given,) = weights
    net = experiment.model(len(data.classes), image_size, dropout)
    mean, std = (given.mean, given.std) if given else (data.mean, data.std)
    preparation = Preparation(image_size, mean, std)
    facts = {"normalisation_mean": _numbers(mean), "normalisation_std": _numbers(std)}
    if given is not None:
        if not isinstance(features := getattr(net, "features", None), nn.Module):
            raise TP1Error(f"weights={given.source}: {experiment.model_name} has no module `features` to take them.")
        load_features(features, given)
        say(f"weights={given.source}: the convolutions are loaded; the head is new.")
        facts["weights_digest"] = features_digest(features.state_dict())
        if is_folded(features):
            unfold(features, _sample(data, preparation))
            say("Their batch norm is folded; it has its statistics from training images now.")
    elif isinstance(net, StartsFromImages):
        net.start_from(_sample(data, preparation))
    return Built(Classifier(net, data.classes, preparation), (), facts)


def rebuild(
    experiment: Experiment, classes: tuple[str, ...], image_size: int, dropout: float, state: Mapping[str, torch.Tensor]
) -> ImageModel:
    """Build the experiment's model from its whole state, which holds the normalisation too; no data set is needed.

    Raises:
        TP1Error: The state is of another network.
    """
    blank = (0.0,) * 3, (1.0,) * 3
    model: ImageModel
    if isinstance(experiment.model, Transfer):
        preparations = [Preparation(image_size, *blank) for _ in experiment.model.trunks]
        model = build_transfer(experiment.model, preparations, classes, dropout)
    else:
        net = experiment.model(len(classes), image_size, dropout)
        model = Classifier(net, classes, Preparation(image_size, *blank))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise TP1Error(f"the weights are of another network than today's {experiment.label} ({why(error)}).") from error
    return model


def _build_transfer(
    transfer: Transfer, data: ImageData, image_size: int, dropout: float, weights: Sequence[Weights | None]
) -> Built:
    norms = [(given.mean, given.std) if given else (data.mean, data.std) for given in weights]
    model = build_transfer(transfer, [Preparation(image_size, *norm) for norm in norms], data.classes, dropout)
    digests = []
    for trunk, given in zip(model.ordered_trunks, weights, strict=True):
        if given is not None:
            load_features(trunk.features, given)
        digests.append(features_digest(trunk.features.state_dict()))
    for given in weights:
        if given is not None and given.is_trunk_alone:
            say(f"weights={given.source} give the convolutions alone: the head is new, all of its layers.")
    hidden = _load_hidden_layers(model, weights[0]) if len(weights) == 1 and weights[0] is not None else 0
    facts = {
        "normalisation_mean": "; ".join(dict.fromkeys(_numbers(mean) for mean, _ in norms)),
        "normalisation_std": "; ".join(dict.fromkeys(_numbers(std) for _, std in norms)),
        "weights_digest": ", ".join(digests),
        "head_layers_from_weights": str(hidden),
    }
    return Built(model, tuple(digests), facts)


def _load_hidden_layers(model: TransferClassifier, weights: Weights) -> int:
    """Load the head's hidden layers from the weights' classifier where they fit; return how many were loaded.

    AlexNet has two hidden dense layers that were trained with its convolutions. As in the report, only the last layer
    is replaced, because the classes are new. Weights that do not fit the head are ignored.
    """
    state = model.head.state_dict()
    loaded: set[int] = set()
    last = max((int(key.split(".")[0]) for key in state), default=-1)
    for key, value in state.items():
        number, name = key.split(".", 1)
        # The head is a flatten layer followed by the classifier, so its layer numbers are one higher.
        given = weights.state.get(f"classifier.{int(number) - 1}.{name}")
        if int(number) != last and given is not None and given.shape == value.shape:
            if not is_finite(given):
                layer = f"classifier.{int(number) - 1}"
                raise TP1Error(f"weights={weights.source} are damaged: {layer} holds NaN or infinity.")
            value.copy_(given)
            loaded.add(int(number))
    return len(loaded)


def _sample(data: ImageData, preparation: Preparation) -> torch.Tensor:
    """float32 (N, 3, S, S): at most :data:`SAMPLE` training images, spread evenly, as they are sorted by class."""
    every = -(-len(data.train.images) // SAMPLE)
    images: torch.Tensor = preparation(torch.from_numpy(data.train.images[::every]))
    return images


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)
