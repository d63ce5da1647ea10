"""A training run in its tracking store: begun or taken up again, written through its outbox, and ended."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
import mlflow
from mlflow import MlflowClient
from mlflow.entities import Param, Run, RunTag
from mlflow.tracking.context import registry as context

from tp1.base.errors import TP1Error
from tp1.base.interrupts import deferred, interruption
from tp1.base.progress import say
from tp1.config import TrainConfig, same_value
from tp1.data.dataset import ImageData
from tp1.experiment import Experiment
from tp1.report.notes import describe_run, published_for
from tp1.report.run_figures import run_title
from tp1.store.prepare import how_to_open, masked
from tp1.store.runs import MACHINE_TAG
from tp1.tracking.delivery import deliver, find_run, is_refused
from tp1.tracking.environment import describe_environment
from tp1.tracking.outbox import Entry, Outbox, Point
from tp1.tracking.run_folders import Plan, RunFolder, checkpoint_paths, create_folder, held, machine, unwritable
from tp1.tracking.system_metrics import sampled
from tp1.tracking.tool_run import (
    data_tags,
    dataset_inputs,
    error_text,
    mark_experiment,
    new_run_experiment,
    run_tags,
)

if TYPE_CHECKING:  # torch comes with them
    from tp1.models.classifier import ImageModel
    from tp1.training.evaluation import Evaluation
    from tp1.training.loop import Epoch, TrainingState

PATIENCE = 60.0  # seconds that a finished run waits for a store that is away
RESUMED_TAG = "tp1.resumed"  # how many times


class TrainingRun:
    """One training run, being written.

    What is known before the first step is sent at once, and must arrive; the rest goes through the outbox.

    Attributes:
        info: MLflow's of the run.
        folder: The run's own on this machine.
        begun: Whether the run is this process's to end: one that is resumed, once nothing speaks against it.
        page: Where to look at it.
    """

    def __init__(self, run: Run, folder: RunFolder, plan: Plan, *, resumed: bool) -> None:
        self.info = run.info
        self.folder = folder
        self.plan = plan
        self.page = how_to_open(
            mlflow.get_tracking_uri(), f"experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
        )
        self._model_id: str | None = None
        self._client = MlflowClient()
        self._tracked = dict(run.data.params)
        self._tags = dict(run.data.tags)
        self._logged: set[int] = set()  # epochs that the store has
        self.begun = not resumed
        self._outbox = Outbox(folder.outbox, self._deliver, is_refused)

    def log_start(
        self,
        experiment: Experiment,
        config: TrainConfig,
        data: ImageData,
        facts: Mapping[str, str],
        summary: str,
    ) -> None:
        """Log parameters, tags, data sets, configuration and environment.

        Args:
            config: With device, precision and image size resolved.
            facts: Further parameters, such as the normalisation.
            summary: Of the model, ``model_summary.txt``.

        Raises:
            TP1Error: The run was resumed, and something is not as it was.
        """
        parameters = {key: str(value) for key, value in asdict(config).items() if value is not None} | dict(facts)
        tags = {
            **data_tags(data),
            "tp1.model": experiment.model_name,
            "tp1.seed": str(config.seed),
            "mlflow.note.content": describe_run(experiment, config, data.name, self.plan.command),
        }
        if not self.begun:
            self._check_unchanged(parameters, tags)
            self._take_up()
        # mlflow run -P has logged what was given, as it was spelled, and a parameter cannot be logged twice.
        new = [Param(key, value) for key, value in parameters.items() if key not in self._tracked]
        run_id = self.info.run_id
        self._client.log_batch(run_id, params=new, tags=[RunTag(key, value) for key, value in tags.items()])
        self._client.log_inputs(run_id, datasets=dataset_inputs(data))
        self._client.log_dict(
            run_id,
            {
                "experiment": experiment.name,
                "section": experiment.section,
                "model": experiment.model_name,
                "config": {
                    key: str(value) if isinstance(value, Path) else value for key, value in asdict(config).items()
                },
                "facts": dict(facts),
                "classes": data.classes,
                "published": published_for(experiment, data.name),
                "command": self.plan.command,
            },
            "config.json",
        )
        self._client.log_text(run_id, describe_environment(facts["processor"]), "environment.txt")
        self._client.log_text(run_id, summary, "model_summary.txt")

    def _check_unchanged(self, parameters: Mapping[str, str], tags: Mapping[str, str]) -> None:
        for key in ("tp1.data_digest", "tp1.split_digest"):
            if self._tags.get(key, tags[key]) != tags[key]:
                raise TP1Error(
                    f"{key.removeprefix('tp1.')}={tags[key]} is not the run's {self._tags[key]}: the data has changed "
                    "since it was started. Restore it, or start a new run."
                )
        for key, value in parameters.items():
            if key in self._tracked and not same_value(self._tracked[key], value):
                if key == "processor":  # another may round otherwise, and still be the same training
                    say(f"Note: the run was started on {self._tracked[key]}, and goes on on {value}.")
                    continue
                raise TP1Error(
                    f"{key}={value} is not the run's {self._tracked[key]}: a resumed run keeps its parameters. "
                    f"Give {key}={self._tracked[key]}, or start a new run."
                )

    def _take_up(self) -> None:
        client, run_id = self._client, self.info.run_id
        client.update_run(run_id, "RUNNING")
        self.begun = True
        times = int(self._tags.get(RESUMED_TAG, "0")) + 1
        tags = {RESUMED_TAG: str(times), MACHINE_TAG: machine()}
        # Beside its time in the comparison and the report, which is that from its first start to its end.
        said = self._tags.get("tp1.remark", "")
        if not said or said.startswith("Resumed "):
            tags["tp1.remark"] = f"Resumed {times} time{'s' * (times != 1)}: its time includes the pauses."
        if (active := mlflow.active_run()) is not None:
            tags["mlflow.parentRunId"] = active.info.run_id
        client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        self._logged = {point.step for point in client.get_metric_history(run_id, "val/loss")}

    def log_epoch(self, epoch: Epoch) -> None:
        """An epoch's metrics, in one call: a call costs 24 ms on SQLite and 56 ms over HTTP, whatever it carries.

        One that the store has is left out: it was trained again, since its checkpoint was lost, and came to the same.
        """
        if epoch.number not in self._logged:
            self._outbox.put(Entry(_epoch_points(epoch)))

    def log_epochs_again(self, state: TrainingState) -> None:
        """The metrics of all epochs that a checkpoint knows of: a kill may have come before the last was sent."""
        for epoch in state.history:
            self.log_epoch(epoch)

    def log_system_metrics(self, measured: Mapping[str, float], step: int) -> None:
        """What the machine was doing."""
        now = _now()
        self._outbox.put(Entry([Point(name, value, now, step) for name, value in measured.items()]))

    def log_result(
        self,
        experiment: Experiment,
        config: TrainConfig,
        data: ImageData,
        model: ImageModel,
        state: TrainingState,
        evaluation: Evaluation,
    ) -> None:
        """Hand over the trained model and all that was measured on it, as one entry, which also ends the run.

        The final metrics are linked to the logged model and to the data set that they were measured on.

        Args:
            model: The whole, from raw images, also where ``state`` trained its head alone.

        Raises:
            TP1Error: There is no room for it on the disk.
        """
        from tp1.report.result_files import write_evaluation, write_figures
        from tp1.tracking.model_files import save_classifier

        best = state.best
        if best is None:
            raise ValueError("nothing was trained")
        chosen = {"best/epoch": best.number, "best/val_accuracy": best.val_accuracy, "best/val_loss": best.val_loss}
        final = evaluation.metrics()
        now = _now()
        named = {item.dataset.name: (item.dataset.name, item.dataset.digest) for item in dataset_inputs(data)}
        # Without a step: the UI then draws them as bars, side by side for the runs that are compared.
        points = [
            Point(name, value, now, of_model=True, dataset=named[f"{data.name}-{part}"])
            for part, metrics in (("val", chosen), ("test", final))
            for name, value in metrics.items()
        ]
        measured = {"val/accuracy": best.val_accuracy, "val/loss": best.val_loss} | final
        note = describe_run(experiment, config, data.name, self.plan.command, measured, best.number)

        def fill(folder: Path) -> None:
            size = config.image_size or data.image_shape[0]
            save_classifier(model, data.val.images[:2], data.name, size, self.info.run_id, folder / "model")
            (folder / "files").mkdir()
            write_evaluation(evaluation, folder / "files")
            title = run_title(experiment.label, data.name, config.seed)
            write_figures(title, state.history, best.number, evaluation, folder / "files")

        entry = Entry(points, {"mlflow.note.content": note}, "FINISHED", self._end_time())
        try:
            self._outbox.put(entry, fill)
        except OSError as error:
            raise unwritable(error) from error

    def end(self, status: str, error: BaseException | None = None) -> None:
        """End the run, unless it has been handed its result already, or its resumption has come to nothing.

        Args:
            error: Goes to ``error.txt``.
        """
        if not self.begun or self._outbox.has_end():
            return

        def fill(folder: Path) -> None:
            (folder / "files").mkdir()
            (folder / "files" / "error.txt").write_text(error_text(error) if error else "")

        entry = Entry(status=status, end_time=self._end_time())
        try:
            self._outbox.put(entry, fill if error is not None else None)
        except OSError:  # a full disk: without its text, then
            self._outbox.put(entry)

    def close(self, patience: float, at_most: float = float("inf")) -> bool:
        """Wait until all is sent; return whether it is (see :meth:`tp1.tracking.outbox.Outbox.close`)."""
        return self._outbox.close(patience, at_most)

    def unsent(self) -> str:
        """What is not sent, and what to do, in one line."""
        return (
            f"{self._outbox.waiting} entries of run {self.info.run_id} ({self._outbox.size() / 1e6:.1f} MB) could not "
            f"be sent and are kept in {self.folder.outbox}: `tp1 sync` sends them when the tracking store is back."
        )

    def _deliver(self, entry: Entry) -> None:
        self._model_id = deliver(self._client, self.info.run_id, entry) or self._model_id

    @property
    def model_uri(self) -> str | None:
        """Of the logged model, once that has been sent."""
        return None if self._model_id is None else f"models:/{self._model_id}"

    def _end_time(self) -> int:
        return max(_now(), int(self.info.start_time))  # a clock may have been set back


@contextmanager
def training_run(plan: Plan, resumed: RunFolder | None = None) -> Iterator[TrainingRun]:
    """A training run, to be filled inside.

    It ends as :meth:`TrainingRun.log_result` says; KILLED where it is interrupted; FAILED, with ``error.txt``, on any
    other error, which is raised again. Its folder is removed once all of it is in the store, and kept as long as it can
    be resumed or has something to send.

    Args:
        plan: Of a new run, which becomes a child of the active one if there is one, or of one that ``mlflow run`` has
            started.
        resumed: The folder of the run to go on with, whose outbox is empty.

    Raises:
        TP1Error: Another process is at work on it.
    """
    tracked: TrainingRun | None = None
    with ExitStack() as stack:
        try:
            with deferred():  # a signal waits until there is something that can be ended
                tracked = _open(plan, stack) if resumed is None else _reopen(plan, resumed, stack)
            if mlflow.active_run() is None:
                say(f"Tracking in {tracked.folder.store()}\nSee {tracked.page}")
            with sampled(tracked.info.run_id, tracked.log_system_metrics):
                yield tracked
        except BaseException as error:
            if (stop := interruption(error)) is not None:
                _interrupted(plan, tracked)
                raise stop from None if stop is error else error
            if tracked is not None:
                tracked.end("FAILED", error)
                whole = _close(tracked, patience=5, at_most=30)
                if whole and tracked.begun and not checkpoint_paths(tracked.folder.checkpoints):
                    tracked.folder.remove()
            raise
        if _close(tracked, PATIENCE):
            tracked.folder.remove()


def point_to(run_id: str) -> None:
    """Make the run that ``mlflow run`` has started for a resumption say which run it goes on with."""
    if (launched := os.environ.pop("MLFLOW_RUN_ID", None)) is None:
        return
    client = MlflowClient()
    note = f"**resume**: goes on with run {run_id}, which has all parameters, metrics and files.\n"
    for key, value in {"mlflow.runName": "resume", "tp1.resumes": run_id, "mlflow.note.content": note}.items():
        client.set_tag(launched, key, value)


def _open(plan: Plan, stack: ExitStack) -> TrainingRun:
    """A new run, or the one that ``mlflow run`` has started, named and tagged; held by this process."""
    client = MlflowClient()
    tags = run_tags(plan.experiment, plan.configuration)
    tags |= {"tp1.seed": str(plan.config.seed), "mlflow.runName": plan.label}
    active = mlflow.active_run()
    if active is None and (launched := os.environ.pop("MLFLOW_RUN_ID", None)) is not None:
        run_id = launched
        client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    else:
        if active is not None:
            tags["mlflow.parentRunId"] = active.info.run_id
        experiment_id = active.info.experiment_id if active else new_run_experiment()
        # With its tags from the first moment on: whatever comes between, it can be found again.
        run_id = client.create_run(experiment_id, tags=context.resolve_tags(tags)).info.run_id
    try:
        stack.enter_context(held(run_id))
        folder = create_folder(run_id, plan, masked(mlflow.get_tracking_uri()))
        run = client.get_run(run_id)
        mark_experiment(run.info.experiment_id)
        return TrainingRun(run, folder, plan, resumed=False)
    except BaseException as error:
        with suppress(Exception):  # the error to tell of is the first one
            client.log_text(run_id, error_text(error), "error.txt")
        with suppress(Exception):
            client.set_terminated(run_id, "FAILED")
        raise


def _reopen(plan: Plan, folder: RunFolder, stack: ExitStack) -> TrainingRun:
    stack.enter_context(held(folder.run_id))
    run = find_run(folder.run_id)
    if run.info.status == "FINISHED" or not folder.path.is_dir():  # since it was looked for
        raise TP1Error(f"run {folder.run_id} has been ended by another process: there is nothing to go on with.")
    return TrainingRun(run, folder, plan, resumed=True)


def _interrupted(plan: Plan, tracked: TrainingRun | None) -> None:
    if tracked is not None:
        tracked.end("KILLED")
        _close(tracked, patience=5, at_most=10)
        say(f"Go on with: mlflow run . -e {plan.experiment} -P resume={tracked.info.run_id}")


def _close(tracked: TrainingRun, patience: float, at_most: float = float("inf")) -> bool:
    """Wait until all is sent, and warn where it is not."""
    whole = False
    try:
        whole = tracked.close(patience, at_most)
    finally:  # also where somebody does not want to wait
        if not whole:
            click.echo(f"Warning: {tracked.unsent()}", err=True)
    return whole


def _epoch_points(epoch: Epoch) -> list[Point]:
    values = {
        "train/loss": epoch.train_loss,
        "train/accuracy": epoch.train_accuracy,
        "val/loss": epoch.val_loss,
        "val/accuracy": epoch.val_accuracy,
        "train/images_per_second": epoch.images_per_second,
    }
    return [Point(name, value, epoch.ended, epoch.number) for name, value in values.items()]


def _now() -> int:
    return round(time.time() * 1000)
