"""One run, from a configuration to a result: data, model, training, evaluation, tracking."""

import time
from dataclasses import dataclass, replace

import torch

from tp1 import tracking
from tp1.build import Built, build
from tp1.cache import cache_dir
from tp1.classifier import ImageModel
from tp1.config import TrainConfig
from tp1.data import ImageData, Part, load_data
from tp1.devices import choose_device, choose_precision, describe
from tp1.evaluation import Evaluation, evaluate
from tp1.experiment import Experiment
from tp1.features import feature_parts
from tp1.progress import say
from tp1.summary import model_summary
from tp1.training import Epoch, start, train
from tp1.transfer import FeatureClassifier, TransferClassifier


@dataclass(frozen=True)
class Result:
    """What a finished run came to."""

    best: Epoch
    evaluation: Evaluation
    model_uri: str
    seconds: float


def run(experiment: Experiment, config: TrainConfig, command: str) -> Result:
    """Train and evaluate ``experiment`` under the active MLflow run.

    Args:
        command: What repeats the run, for its record.

    Raises:
        TP1Error: The data, the device or the training has a fault that the user can mend.
    """
    began = time.perf_counter()
    tracking.name_run(f"{experiment.label}-s{config.seed}")
    device = choose_device(config.device)
    data = load_data(config.dataset, config.data_dir, config.image_size)
    image_size = config.image_size or data.image_shape[0]
    precision = choose_precision(config.precision, device)
    config = replace(config, device=str(device), precision=precision, image_size=image_size)

    torch.manual_seed(config.seed)  # initialisation and dropout; order and augmentation have a generator of their own
    built = build(experiment, config, data, image_size)
    built.model.to(device)
    facts = built.facts | {
        "model_parameters": str(sum(parameter.numel() for parameter in built.model.parameters())),
        "processor": describe(device),
    }
    tracking.log_start(experiment, config, data, facts, command)
    tracking.log_text(model_summary(built.model, data.image_shape), "model_summary.txt")
    say(
        f"{experiment.model_name}, {int(facts['model_parameters']):,} parameters, on {data.name} ({data.origin}): "
        f"{len(data.train):,} training, {len(data.val):,} validation, {len(data.test):,} test images; "
        f"{facts['processor']}, {precision}"
    )

    def on_epoch(epoch: Epoch) -> None:
        tracking.log_epoch(epoch)
        say(
            f"epoch {epoch.number:>{len(str(config.epochs))}}/{config.epochs}  "
            f"train loss {epoch.train_loss:.4f} accuracy {epoch.train_accuracy:.4f}  "
            f"val loss {epoch.val_loss:.4f} accuracy {epoch.val_accuracy:.4f}  {epoch.images_per_second:,.0f} images/s"
        )

    trainee, (train_part, val_part, test_part) = _choose_inputs(built, config, data)
    state = start(trainee, config, device)
    train(state, train_part, val_part, config, precision, on_epoch)
    evaluation = evaluate(trainee, test_part, data.classes)
    model_uri = tracking.log_result(experiment, config, data, built.model, state, evaluation, command)
    assert state.best is not None
    return Result(state.best, evaluation, model_uri, time.perf_counter() - began)


def _choose_inputs(built: Built, config: TrainConfig, data: ImageData) -> tuple[ImageModel, tuple[Part, Part, Part]]:
    """What is trained, and on what: a frozen trunk's features where they can be kept, else the images."""
    parts = (data.train, data.val, data.test)
    if not isinstance(built.model, TransferClassifier):
        return built.model, parts
    if config.augment != "none":
        tracking.log_parameters({"features": "computed for every batch"})
        say(f"augment={config.augment} changes every image every time: the frozen layers run on each batch.")
        return built.model, parts
    tracking.log_parameters({"features": "computed once, from the cache"})
    trunks = built.model.ordered_trunks
    return FeatureClassifier(built.model), feature_parts(trunks, built.digests, built.model.side, data, cache_dir())
