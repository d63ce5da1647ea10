"""One run, from a configuration to a result: data, model, training, evaluation, tracking."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from tp1.base.interrupts import deferred
from tp1.base.progress import say
from tp1.config import TrainConfig
from tp1.data.cache import cache_dir
from tp1.data.dataset import ImageData, Part, load_data
from tp1.experiment import Experiment
from tp1.models.build import Built, build
from tp1.models.classifier import ImageModel
from tp1.models.summary import model_summary
from tp1.models.transfer import FeatureClassifier, TransferClassifier
from tp1.tracking.run_folders import Plan, RunFolder
from tp1.tracking.training_run import TrainingRun, training_run
from tp1.training.checkpoints import Checkpoints
from tp1.training.devices import choose_device, choose_precision, describe
from tp1.training.evaluation import Evaluation, evaluate
from tp1.training.features import feature_parts
from tp1.training.loop import Epoch, TrainingState, start, train

KEEP_SECONDS = 300.0  # within an epoch; after each there is a checkpoint anyway


@dataclass(frozen=True)
class Result:
    """What a finished run came to.

    Attributes:
        model_uri: None where the tracking store has gone away and the model waits to be sent.
        page: Where to look at the run.
    """

    best: Epoch
    evaluation: Evaluation
    model_uri: str | None
    page: str
    seconds: float


def run(experiment: Experiment, config: TrainConfig, command: str, resumed: RunFolder | None = None) -> Result:
    """Train and evaluate ``experiment`` in an MLflow run, a child of the active one if there is one.

    Args:
        command: What repeats the run, for its record.
        resumed: The folder of an unfinished run of the same configuration, to go on with.

    Raises:
        TP1Error: The data, the device or the training has a fault that the user can mend.
    """
    began = time.perf_counter()
    with training_run(Plan(experiment.name, experiment.configuration, config, command), resumed) as tracked:
        best, evaluation = _run(experiment, config, tracked)
    return Result(best, evaluation, tracked.model_uri, tracked.page, time.perf_counter() - began)


def _run(experiment: Experiment, config: TrainConfig, tracked: TrainingRun) -> tuple[Epoch, Evaluation]:
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
    cached = isinstance(built.model, TransferClassifier) and config.augment == "none"
    if isinstance(built.model, TransferClassifier):
        facts["features"] = "computed once, from the cache" if cached else "computed for every batch"
    tracked.log_start(experiment, config, data, facts, model_summary(built.model, data.image_shape))
    say(
        f"{experiment.model_name}, {int(facts['model_parameters']):,} parameters, on {data.name} ({data.origin}): "
        f"{len(data.train):,} training, {len(data.val):,} validation, {len(data.test):,} test images; "
        f"{facts['processor']}, {precision}"
    )
    if isinstance(built.model, TransferClassifier) and not cached:
        say(f"augment={config.augment} changes every image every time: the frozen layers run on each batch.")
    trainee, (train_part, val_part, test_part) = _choose_inputs(built, data, cached=cached)
    state = start(trainee, config, device)
    checkpoints = Checkpoints(tracked.folder.checkpoints)
    if checkpoints.restore(state):
        say(f"Going on from {_where(state, config)} ({checkpoints.folder})")
        tracked.log_epochs_again(state)
    keep = _keeper(checkpoints, state)

    def on_epoch(epoch: Epoch) -> None:
        tracked.log_epoch(epoch)
        say(
            f"epoch {epoch.number:>{len(str(config.epochs))}}/{config.epochs}  "
            f"train loss {epoch.train_loss:.4f} accuracy {epoch.train_accuracy:.4f}  "
            f"val loss {epoch.val_loss:.4f} accuracy {epoch.val_accuracy:.4f}  {epoch.images_per_second:,.0f} images/s"
        )

    with deferred() as stopped:
        done = train(state, train_part, val_part, config, precision, on_epoch, keep, KEEP_SECONDS, stopped)
        if not done:
            say(f"Stopped at {_where(state, config)}; checkpoint in {checkpoints.folder}")
    evaluation = evaluate(trainee, test_part, data.classes)
    tracked.log_result(experiment, config, data, built.model, state, evaluation)
    assert state.best is not None
    return state.best, evaluation


def _choose_inputs(built: Built, data: ImageData, *, cached: bool) -> tuple[ImageModel, tuple[Part, Part, Part]]:
    """What is trained, and on what: a frozen trunk's features where they can be kept, else the images."""
    if not cached or not isinstance(built.model, TransferClassifier):
        return built.model, (data.train, data.val, data.test)
    trunks = built.model.ordered_trunks
    return FeatureClassifier(built.model), feature_parts(trunks, built.digests, built.model.side, data, cache_dir())


def _keeper(checkpoints: Checkpoints, state: TrainingState) -> Callable[[], None]:
    """Keeps a checkpoint; says the first time where and how large, and on a full disk that the last good one stays."""
    told = False

    def keep() -> None:
        nonlocal told
        try:
            path = checkpoints.save(state)
        except OSError as error:
            say(
                f"Cannot write a checkpoint to {checkpoints.folder} ({error.strerror}): training goes on, and a kill "
                f"would lose what came after the last good one."
            )
            return
        if not told:
            say(f"Checkpoints of {path.stat().st_size / 1e6:.1f} MB, the last two, in {checkpoints.folder}")
            told = True

    return keep


def _where(state: TrainingState, config: TrainConfig) -> str:
    step = f", step {state.under_way.step} of epoch {len(state.history) + 1}" if state.under_way else ""
    return f"epoch {len(state.history)} of {config.epochs}{step}"
