"""One run, from a configuration to a result: data, model, training, evaluation, tracking."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tp1 import tracking
from tp1.classifier import Classifier
from tp1.config import TrainConfig
from tp1.data import load_data
from tp1.devices import choose_device, choose_precision, describe
from tp1.environment import git_state
from tp1.evaluation import Evaluation, evaluate
from tp1.experiment import Experiment
from tp1.progress import say
from tp1.summary import model_summary
from tp1.training import Epoch, start, train


@dataclass(frozen=True)
class Result:
    """What a finished run came to."""

    best: Epoch
    evaluation: Evaluation
    model_uri: str
    seconds: float


def run_tags(experiment_name: str) -> dict[str, str]:
    """The tags that every run has, also one that fails before it has a configuration."""
    return {"tp1.experiment": experiment_name, **git_state(Path.cwd())}


def run(experiment: Experiment, config: TrainConfig, command: str) -> Result:
    """Train and evaluate ``experiment`` under the active MLflow run.

    Args:
        command: What repeats the run, for its record.

    Raises:
        TP1Error: The data, the device or the training has a fault that the user can mend.
    """
    began = time.perf_counter()
    tracking.name_run(f"{experiment.name}-s{config.seed}")
    device = choose_device(config.device)
    data = load_data(config.dataset, config.data_dir, config.image_size)
    config = replace(
        config,
        device=str(device),
        precision=choose_precision(config.precision, device),
        image_size=config.image_size or data.image_shape[0],
    )
    assert config.image_size is not None

    torch.manual_seed(config.seed)  # initialisation and dropout; order and augmentation have a generator of their own
    net = experiment.model(len(data.classes), config.image_size, config.dropout)
    classifier = Classifier(net, data.classes, config.image_size, data.mean, data.std)
    facts = {
        "normalisation_mean": ", ".join(f"{value:.4f}" for value in data.mean),
        "normalisation_std": ", ".join(f"{value:.4f}" for value in data.std),
        "model_parameters": str(sum(parameter.numel() for parameter in net.parameters())),
        "processor": describe(device),
    }
    state = start(classifier, config, device)
    tracking.log_start(experiment, config, data, facts, command)
    tracking.log_text(model_summary(net, config.image_size), "model_summary.txt")
    say(
        f"{experiment.model_name}, {int(facts['model_parameters']):,} parameters, on {data.name} ({data.origin}): "
        f"{len(data.train):,} training, {len(data.val):,} validation, {len(data.test):,} test images; "
        f"{facts['processor']}, {config.precision}"
    )

    def on_epoch(epoch: Epoch) -> None:
        tracking.log_epoch(epoch)
        say(
            f"epoch {epoch.number:>{len(str(config.epochs))}}/{config.epochs}  "
            f"train loss {epoch.train_loss:.4f} accuracy {epoch.train_accuracy:.4f}  "
            f"val loss {epoch.val_loss:.4f} accuracy {epoch.val_accuracy:.4f}  {epoch.images_per_second:,.0f} images/s"
        )

    train(state, data.train, data.val, config, config.precision, on_epoch)
    evaluation = evaluate(classifier, data.test, data.classes)
    model_uri = tracking.log_result(experiment, config, data, state, evaluation, command)
    assert state.best is not None
    return Result(state.best, evaluation, model_uri, time.perf_counter() - began)
