"""One run, from a configuration to a result: read this first.

It calls the rooms (the packages in ``tp1/``) in order: data -> model -> training -> evaluation -> tracking.

The words for a run, everywhere in this project:

- A **plan** (:class:`~tp1.tracking.run_folders.Plan`) says what a run shall do, as the user requested it.
- The **outbox** of a run (:class:`~tp1.tracking.outbox.Outbox`) holds on disk what is not yet sent to the tracking
  store.
- A **run folder** (:class:`~tp1.tracking.run_folders.RunFolder`) holds plan, checkpoints and outbox of a run on this
  machine until the store has the whole run. It is removed when the run is finished and sent.
- A **run writer** (:class:`~tp1.tracking.training_run.RunWriter`) writes a training run to the store through the
  outbox; the run of a tool, such as ``compare``, is a :class:`~tp1.tracking.tool_run.ToolRun`.
- A **tracked run** (:class:`~tp1.store.runs.TrackedRun`) is a run as the store has it: tags, parameters, last metrics.
- A **record** (:class:`~tp1.store.records.RunRecord`) is a complete finished run without its model, as in
  ``reference/``.
- A **result** (:class:`Result`) is what :func:`run` returns for a finished run.
- A **trial** is a run of a sweep (:mod:`tp1.sweeps.sweep`). If it is stopped early, it is **pruned**: over, but not
  finished (:class:`Pruned`).

The process that holds the lock of a RUNNING run **owns** it (:mod:`tp1.tracking.ownership`). If the owner is gone, the
run is **stale**: it can be resumed or closed on the machine that has its folder.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from signal import SIGTERM

from tp1.base.interrupts import Interrupted, deferred
from tp1.base.progress import say
from tp1.config import TrainConfig
from tp1.data.class_names import metric_names
from tp1.data.dataset import ImageData
from tp1.data.image_digests import image_digests
from tp1.experiment import Experiment
from tp1.models.classifier import ImageModel
from tp1.models.summary import model_summary
from tp1.models.transfer import TransferClassifier
from tp1.preparation import images_on_disk, prepare
from tp1.report.notes import describe_run
from tp1.report.result_files import write_evaluation, write_figures
from tp1.report.run_figures import run_title
from tp1.tracking.environment import describe_environment
from tp1.tracking.every_run import NOTE_TAG
from tp1.tracking.model_files import save_classifier
from tp1.tracking.run_folders import Plan, RunFolder
from tp1.tracking.tool_run import ToolRun
from tp1.tracking.training_run import RunWriter, training_run
from tp1.training.checkpoints import Checkpoints, keeper, share_state
from tp1.training.evaluation import Evaluation
from tp1.training.loop import DivergedError, Epoch, Hooks, TrainingState, start, train
from tp1.training.orders import order_for
from tp1.training.ranks import ALONE, Ranks

KEEP_SECONDS = 300.0  # between checkpoints within an epoch; each epoch also ends with one


@dataclass(frozen=True)
class Result:
    """The result of a finished run.

    Attributes:
        best: The epoch with the highest validation accuracy, whose weights the model has.
        evaluation: The model on the test images.
        model_uri: URI of the logged model; None if the tracking store is unreachable and the model waits in the outbox.
        seconds: Duration of the call of :func:`run`.
        run_id: The run's id. While it has a folder on this machine, something waits there to be sent.
    """

    best: Epoch
    evaluation: Evaluation
    model_uri: str | None
    seconds: float
    run_id: str


@dataclass(frozen=True)
class Pruned:
    """The result of a trial that was stopped early; it has read no test image.

    Attributes:
        epochs: Number of complete epochs.
        reason: Why, as a sentence.
    """

    epochs: int
    reason: str


def run(
    experiment: Experiment,
    config: TrainConfig,
    command: str,
    resumed: RunFolder | None = None,
    *,
    parent: ToolRun | None = None,
    launched: str | None = None,
    ranks: Ranks = ALONE,
) -> Result:
    """Train and evaluate ``experiment`` in an MLflow run.

    Args:
        command: The command that repeats the run; it is logged.
        resumed: The folder of an unfinished run of the same configuration, to resume; None for a new run.
        parent: The parent of the run.
        launched: The id of the run that ``mlflow run`` has started for this process.
        ranks: The processes that compute the run together, of which this is the first; the others :func:`follow`.

    Raises:
        TP1Error: Something is wrong that the user can correct, such as in the data, the device or a parameter.
    """
    plan = Plan(experiment.name, experiment.configuration, config, command)
    result = _tracked(experiment, plan, resumed, parent, launched, None, ranks)
    assert isinstance(result, Result)
    return result


def follow(experiment: Experiment, ranks: Ranks) -> None:
    """Compute a run together with the first process, which leads and tracks it in :func:`run`.

    Raises:
        TP1Error: What this process has is not what the first one has, such as its data.
        LostError: Another process has ended.
    """
    with ranks.together():
        if not ranks.sent(lambda: False):  # the run is finished
            return
        prepared = prepare(experiment, experiment.config, ranks)
        inputs = prepared.inputs()
        state = start(inputs.trainee, prepared.config, prepared.device)
        ranks.wait()
        share_state(state, ranks)
        with deferred() as stopped:
            whole = train(state, inputs.train, inputs.val, prepared.config, Hooks(stopped=stopped), ranks)
        if whole:
            prepared.evaluate(inputs, ranks)


def run_trial(
    experiment: Experiment,
    plan: Plan,
    give_up: Callable[[Epoch], str | None],
    resumed: RunFolder | None = None,
    *,
    parent: ToolRun,
) -> Result | Pruned:
    """Train and evaluate ``experiment`` as a trial of a sweep, which may be stopped early.

    A loss that is no longer finite stops it early too, since that is what its parameters are worth.

    Args:
        plan: With the place of the trial in its sweep.
        give_up: Called after every epoch, after a resumption also once for each earlier one, in order; returns why
            training should stop, as a sentence, or None to go on.
        resumed, parent: As for :func:`run`.

    Raises:
        TP1Error: As for :func:`run`.
    """
    return _tracked(experiment, plan, resumed, parent, None, give_up, ALONE)


def _tracked(
    experiment: Experiment,
    plan: Plan,
    resumed: RunFolder | None,
    parent: ToolRun | None,
    launched: str | None,
    give_up: Callable[[Epoch], str | None] | None,
    ranks: Ranks,
) -> Result | Pruned:
    began = time.perf_counter()
    with training_run(plan, resumed, parent=parent, launched=launched) as writer, ranks.together():
        done = _run(experiment, plan.config, plan.command, writer, give_up, ranks)
    if isinstance(done, Pruned):
        return done
    return Result(*done, writer.model_uri, time.perf_counter() - began, writer.info.run_id)


def _run(
    experiment: Experiment,
    config: TrainConfig,
    command: str,
    writer: RunWriter,
    give_up: Callable[[Epoch], str | None] | None,
    ranks: Ranks,
) -> tuple[Epoch, Evaluation] | Pruned:
    ranks.sent(lambda: True)
    prepared = prepare(experiment, config, ranks)
    data, cached, model = prepared.data, prepared.cached, prepared.built.model
    # Which of several devices each process has does not make another training.
    device = prepared.device.type if ranks.count > 1 else str(prepared.device)
    config = replace(prepared.config, device=device)
    precision = config.precision
    facts = prepared.facts()
    if ranks.count > 1:
        facts["processes"] = str(ranks.count)
    if writer.begun and not cached and order_for(data.train.images, config.batch_size) is not None:
        facts["images"] = "read from disk, shuffled in blocks"  # a resumed run keeps the order that it began with
    note = describe_run(experiment, config, data.name, command)
    writer.log_start(
        {key: str(value) for key, value in config.flat().items() if value is not None} | facts,
        data,
        {"tp1.model": experiment.model_name, "tp1.seed": str(config.seed), NOTE_TAG: note},
        {
            "config.json": _config_file(experiment, config, data, facts, command),
            "environment.txt": describe_environment(facts["processor"]),
            "model_summary.txt": model_summary(model, data.image_shape),
        },
    )
    say(
        f"{experiment.model_name}, {int(facts['model_parameters']):,} parameters, on {data.name} ({data.origin}): "
        f"{len(data.train):,} training, {len(data.val):,} validation, {len(data.test):,} test images; "
        f"{facts['processor']}, {precision}"
    )
    if ranks.count > 1:
        say(f"{ranks.count} processes compute it together: each has its share of every batch.")
    for remark in data.reading.notes():
        say(remark)
    if isinstance(model, TransferClassifier) and not cached:
        say(f"augment={config.augment} changes every image every time: the frozen layers run on each batch.")

    inputs = prepared.inputs()
    state = start(inputs.trainee, config, prepared.device, order_for(inputs.train.images, config.batch_size))
    if on_disk := images_on_disk(inputs):
        say(on_disk)
    checkpoints = Checkpoints(writer.folder.checkpoints)
    reasons: list[str] = []  # to stop early

    def judge(epoch: Epoch) -> None:
        if give_up is not None and (reason := give_up(epoch)) is not None:
            reasons.append(reason)

    is_restored = checkpoints.restore(state)
    ranks.wait()
    share_state(state, ranks)
    if is_restored:
        say(f"Going on from {_where(state, config)} ({checkpoints.folder})")
        for epoch in state.history:  # the earlier process may have been killed before it logged the last one
            writer.log_epoch(epoch)
            judge(epoch)

    def on_epoch(epoch: Epoch) -> None:
        writer.log_epoch(epoch)
        say(
            f"epoch {epoch.number:>{len(str(config.epochs))}}/{config.epochs}  "
            f"train loss {epoch.train_loss:.4f} accuracy {epoch.train_accuracy:.4f}  "
            f"val loss {epoch.val_loss:.4f} accuracy {epoch.val_accuracy:.4f}  {epoch.images_per_second:,.0f} images/s"
        )
        judge(epoch)

    with deferred() as stopped:
        hooks = Hooks(on_epoch, keeper(checkpoints, state), KEEP_SECONDS, lambda: stopped() or bool(reasons))
        try:
            whole = train(state, inputs.train, inputs.val, config, hooks, ranks)
            by_another = ranks.count > 1 and not stopped()  # process, which has got a signal
            if not whole and (stopped() or by_another):
                say(f"Stopped at {_where(state, config)}; checkpoint in {checkpoints.folder}")
                if by_another:
                    raise Interrupted(SIGTERM)
        except DivergedError as error:
            if give_up is None:
                raise
            reasons.append(str(error))
    if reasons:
        return _log_pruned(experiment, config, command, data.name, state, reasons[0], writer)
    evaluation, with_views = prepared.evaluate(inputs, ranks)
    averaged = {}
    if with_views is not None:
        averaged = {"test_tta/accuracy": with_views.accuracy, "test_tta/loss": with_views.loss}
        say(f"Test accuracy with tta={config.tta}: {with_views.accuracy:.4f} (the stored model predicts without it)")
    _log_result(experiment, config, command, data, model, state, evaluation, averaged, writer)
    assert state.best is not None
    return state.best, evaluation


def _config_file(
    experiment: Experiment, config: TrainConfig, data: ImageData, facts: dict[str, str], command: str
) -> str:
    """Return the content of ``config.json``: a description of the run for programs."""
    content = {
        "experiment": experiment.name,
        "section": experiment.section,
        "model": experiment.model_name,
        "config": {key: str(value) if isinstance(value, Path) else value for key, value in config.flat().items()},
        "facts": facts,
        "classes": data.classes,
        "metric_names": metric_names(data.classes),
        "data": data.reading.facts(),
        "published": experiment.published_on(config.dataset),
        "command": command,
    }
    return json.dumps(content, indent=2)


def _log_pruned(
    experiment: Experiment,
    config: TrainConfig,
    command: str,
    dataset: str,
    state: TrainingState,
    reason: str,
    writer: RunWriter,
) -> Pruned:
    """End a trial that was stopped early; nothing of it was measured on test images."""
    epochs = len(state.history)
    said = f"Pruned after epoch {epochs} of {config.epochs}: {reason}"
    say(said)
    note = describe_run(experiment, config, dataset, command, state=said)
    writer.log_pruned(epochs, _best_metrics(state.best) if state.best else {}, note)
    return Pruned(epochs, reason)


def _best_metrics(best: Epoch) -> dict[str, float]:
    return {"best/epoch": best.number, "best/val_accuracy": best.val_accuracy, "best/val_loss": best.val_loss}


def _where(state: TrainingState, config: TrainConfig) -> str:
    step = f", step {state.under_way.step} of epoch {len(state.history) + 1}" if state.under_way else ""
    return f"epoch {len(state.history)} of {config.epochs}{step}"


def _log_result(
    experiment: Experiment,
    config: TrainConfig,
    command: str,
    data: ImageData,
    model: ImageModel,
    state: TrainingState,
    evaluation: Evaluation,
    averaged: dict[str, float],
    writer: RunWriter,
) -> None:
    """Log the model, its metrics, reports and figures.

    Args:
        averaged: Metrics with test-time augmentation; empty without.
        model: The whole model, which takes raw images, even if ``state`` trained only its head.
    """
    best = state.best
    assert best is not None
    on_val = _best_metrics(best)
    on_test = evaluation.metrics() | averaged
    measured = {"val/accuracy": best.val_accuracy, "val/loss": best.val_loss} | on_test
    note = describe_run(experiment, config, data.name, command, measured, best.number)

    def fill(folder: Path) -> None:
        size = config.image_size or data.image_shape[0]
        trained_on = image_digests(data.train.images)
        save_classifier(model, data.val.images[:2], trained_on, data.name, size, writer.info.run_id, folder / "model")
        (folder / "files").mkdir()
        write_evaluation(evaluation, data.test.images, folder / "files")

    writer.log_result(data, on_val, on_test, note, fill)
    # Last, when the result is safe: whatever happens to a figure, it cannot cost the model.
    title = run_title(experiment.label, data.name, config.seed)
    writer.log_figures(
        lambda folder: write_figures(title, state.history, best.number, evaluation, data.test.images, folder)
    )
