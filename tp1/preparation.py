"""What a run works on: the data, the network on its device, and what of both is trained and evaluated."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from tp1.base.errors import TP1Error
from tp1.base.memory import free_memory
from tp1.base.progress import say
from tp1.config import TrainConfig
from tp1.data.cache_folder import cache_dir
from tp1.data.dataset import ImageData, Part, load_data
from tp1.data.stored import Stored, row_bytes
from tp1.experiment import Experiment
from tp1.models.build import Built, build
from tp1.models.classifier import ImageModel
from tp1.models.transfer import FeatureClassifier, TransferClassifier
from tp1.models.weights import find_weights
from tp1.registry.stored_models import download_weights
from tp1.training.devices import choose_device, choose_precision, describe
from tp1.training.evaluation import Evaluation
from tp1.training.features import feature_parts
from tp1.training.inference import evaluate
from tp1.training.ranks import LEAST, Ranks


@dataclass(frozen=True)
class Inputs:
    """What is trained, and on what: the whole model on images, or the head of a frozen network on cached features."""

    trainee: ImageModel
    train: Part
    val: Part
    test: Part


@dataclass(frozen=True)
class Prepared:
    """What a process has before it trains.

    Attributes:
        config: With precision and image size resolved.
    """

    config: TrainConfig
    device: torch.device
    data: ImageData
    built: Built

    @property
    def cached(self) -> bool:
        """Whether the head of a frozen network trains on cached features."""
        return isinstance(self.built.model, TransferClassifier) and self.config.augment == "none"

    def facts(self) -> dict[str, str]:
        """Return the parameters that follow from the run's configuration, its data and the machine."""
        model = self.built.model
        facts = self.built.facts | {
            "model_parameters": str(sum(parameter.numel() for parameter in model.parameters())),
            "processor": describe(self.device),
        }
        if isinstance(model, TransferClassifier):
            facts["features"] = "computed once, from the cache" if self.cached else "computed for every batch"
        return facts

    def inputs(self) -> Inputs:
        """Return what is trained and on what; features that are not in the cache are computed, which takes a while."""
        model, data = self.built.model, self.data
        if not self.cached or not isinstance(model, TransferClassifier):
            return Inputs(model, data.train, data.val, data.test)
        parts = feature_parts(model.ordered_trunks, self.built.digests, model.side, data, cache_dir())
        return Inputs(FeatureClassifier(model), *parts)

    def evaluate(self, inputs: Inputs, ranks: Ranks) -> tuple[Evaluation, Evaluation | None]:
        """Evaluate on the test images; with the views of ``tta=`` too, where there are any."""
        classes, tta = self.data.classes, self.config.tta
        # What is served is measured: with cached features, those are its trunks' already.
        served = self.built.model.as_served()
        evaluation = evaluate(inputs.trainee if self.cached else served, inputs.test, classes, "none", ranks)
        return evaluation, None if tta == "none" else evaluate(served, self.data.test, classes, tta, ranks)


def prepare(experiment: Experiment, config: TrainConfig, ranks: Ranks) -> Prepared:
    """Load the data and build the network; of several processes, all take what the first one chooses.

    Raises:
        TP1Error: The data, the device, the weights or the batch size cannot be used.
    """
    precision = choose_precision(config.precision, choose_device(config.device)) if ranks.leads else ""
    config = ranks.sent(lambda: replace(config, precision=precision))
    device = choose_device(config.device)
    data = load_data(config.dataset, config.data_dir, config.image_size, **config.reading)
    digests = (data.digest, data.split_digest)
    if (wanted := ranks.sent(lambda: digests)) != digests:
        raise TP1Error(f"{data.name} in {data.origin} is not what the first process has: {digests}, not {wanted}.")
    check_batch(config.batch_size, experiment.config.batch_size, len(data.train))
    if ranks.count > 1 and min(config.batch_size, len(data.train)) < LEAST * ranks.count:
        raise TP1Error(
            f"batch_size={config.batch_size} is less than {LEAST} images for each of {ranks.count} processes."
        )
    image_size = config.image_size or data.image_shape[0]
    config = replace(config, image_size=image_size)

    torch.manual_seed(config.seed)  # for initialisation and dropout; order and augmentation have their own generator
    weights = ranks.sent(lambda: find_weights(config.weights, experiment.networks, download_weights))
    built = build(experiment, data, image_size, config.dropout, weights)
    built.model.to(device)
    return Prepared(config, device, data, built)


def check_batch(batch_size: int, default: int, images: int) -> None:
    """Say that a batch is all training images where there are fewer than in the default batch; refuse a chosen one."""
    if batch_size > images and batch_size != default:
        raise TP1Error(f"batch_size={batch_size} is larger than the {images} training images.")
    if batch_size > images:
        say(f"A batch is all {images} training images: there are fewer than batch_size={batch_size}.")


def images_on_disk(inputs: Inputs) -> str | None:
    """Return a sentence that says what does not fit in memory and stays on disk; None if all of it fits."""
    images = inputs.train.images
    if not isinstance(images, Stored) or not images.beyond_memory:
        return None
    what = "images" if images.dtype == np.uint8 else "features of the images"
    count = len(inputs.train) + len(inputs.val) + len(inputs.test)
    size, free = count * row_bytes(images) / 1e9, free_memory() / 1e9
    return (
        f"The {what} ({size:,.1f} GB) do not fit in the free memory ({free:,.1f} GB): they are read from disk all "
        "along, and shuffled in blocks."
    )
