"""A training run in its tracking store: starting or resuming it, logging through its outbox, and ending it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import mlflow
from mlflow import MlflowClient
from mlflow.entities import Param, Run, RunTag

from tp1.base.errors import TP1Error, why
from tp1.base.interrupts import Interrupted, deferred, interruption
from tp1.base.progress import say
from tp1.config import PARAMETERS, same_value
from tp1.data.dataset import ImageData
from tp1.store.access import is_refused
from tp1.store.addresses import how_to_open, masked, run_page
from tp1.store.reader import find_run
from tp1.store.runs import MACHINE_TAG, PARENT_TAG, PRUNED_TAG, SWEEP_TAG, TRIAL_TAG
from tp1.tracking.datasets import data_tags, dataset_inputs
from tp1.tracking.delivery import deliver, is_over
from tp1.tracking.every_run import (
    NAME_TAG,
    NOTE_TAG,
    begin_run,
    check_launched,
    error_text,
    fail_run,
    mark_experiment,
    milliseconds,
    run_tags,
)
from tp1.tracking.outbox import Entry, Outbox, Point
from tp1.tracking.ownership import Owned, held, machine
from tp1.tracking.run_folders import Plan, RunFolder, create_folder, state_unwritable
from tp1.tracking.system_metrics import sampled
from tp1.tracking.tool_run import ToolRun

if TYPE_CHECKING:  # it imports torch
    from tp1.training.loop import Epoch

PATIENCE = 60.0  # seconds that a finished run waits for an unreachable store
INTERRUPTED_AT_MOST, FAILED_AT_MOST = 10.0, 30.0  # seconds that a run that has ended so waits in any case
RESUMED_TAG = "tp1.resumed"  # number of times


class RunWriter:
    """One training run, open for logging.

    What is known before the first step is sent directly, and a failure is an error; the rest goes through the outbox.

    Attributes:
        info: MLflow's information about the run.
        folder: The run's folder on this machine.
        begun: Whether this process may end the run. A resumed run only after the check that nothing has changed.
        page: The address of the run in the tracking UI, and how to start the UI if necessary.
    """

    def __init__(self, run: Run, folder: RunFolder, owned: Owned, *, resumed: bool, parent: ToolRun | None) -> None:
        self.info = run.info
        self.folder = folder
        self.page = how_to_open(mlflow.get_tracking_uri(), run_page(run.info.experiment_id, run.info.run_id))
        self.begun = not resumed
        self._parent = parent
        self._model_id: str | None = None
        self._client = MlflowClient()
        self._params = dict(run.data.params)
        self._tags = dict(run.data.tags)
        self._logged: set[int] = set()  # numbers of the epochs that the store has
        self._outbox = Outbox(folder.outbox, self._deliver, is_refused)
        owned.keep_for(self._outbox.sender)

    def log_start(
        self, parameters: Mapping[str, str], data: ImageData, tags: Mapping[str, str], files: Mapping[str, str]
    ) -> None:
        """Log what is known before the first step.

        Args:
            parameters: All parameters, with device, precision and image size resolved.
            data: Logged as tags and as MLflow dataset inputs.
            tags: Further tags, including the note.
            files: Text artifacts by name.

        Raises:
            TP1Error: The run is resumed, and its data or parameters have changed.
        """
        tags = {**data_tags(data), **tags}
        if not self.begun:
            self._check_unchanged(parameters, tags)
            self._take_up()
        # mlflow run -P has already logged the given parameters, as the user spelled them, and MLflow does not accept
        # another value for a parameter.
        new = [Param(key, value) for key, value in parameters.items() if key not in self._params]
        run_id = self.info.run_id
        self._client.log_batch(run_id, params=new, tags=[RunTag(key, value) for key, value in tags.items()])
        self._client.log_inputs(run_id, datasets=list(dataset_inputs(data).values()))
        for name, text in files.items():
            self._client.log_text(run_id, text, name)

    def _check_unchanged(self, parameters: Mapping[str, str], tags: Mapping[str, str]) -> None:
        for key in ("tp1.data_digest", "tp1.split_digest"):
            if self._tags.get(key, tags[key]) != tags[key]:
                raise TP1Error(
                    f"{key.removeprefix('tp1.')}={tags[key]} is not the run's {self._tags[key]}: the data has changed "
                    "since it was started. Restore it, or start a new run."
                )
        for key, value in parameters.items():
            if key in self._params and not same_value(key, self._params[key], value):
                if key in ("processor", "processes", "features"):  # rounding may differ, but it is the same training
                    say(f"Note: the run was started with {key}={self._params[key]}, and goes on with {value}.")
                    continue
                commit = self._tags.get("tp1.git_commit", "unknown")
                way = (
                    f"Give {key}={self._params[key]}" if key in PARAMETERS else f"Go on with its code (commit {commit})"
                )
                raise TP1Error(
                    f"{key}={value} is not the run's {self._params[key]}: a resumed run keeps its parameters. "
                    f"{way}, or start a new run."
                )

    def _take_up(self) -> None:
        client, run_id = self._client, self.info.run_id
        client.update_run(run_id, "RUNNING")
        self.begun = True
        times = int(self._tags.get(RESUMED_TAG, "0")) + 1
        tags = {RESUMED_TAG: str(times), MACHINE_TAG: machine()}
        # The comparison and the report show the remark beside the run's time, which lasts from first start to end.
        said = self._tags.get("tp1.remark", "")
        if not said or said.startswith("Resumed "):
            tags["tp1.remark"] = f"Resumed {times} time{'s' * (times != 1)}: its time includes the pauses."
        if self._parent is not None:
            tags[PARENT_TAG] = self._parent.info.run_id
        client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        self._logged = {point.step for point in client.get_metric_history(run_id, "val/loss")}

    def log_epoch(self, epoch: Epoch) -> None:
        """Log an epoch's metrics in one call: a call takes 24 ms on SQLite and 56 ms over HTTP, whatever its size.

        An epoch that the store already has is skipped: its checkpoint was lost, so it was trained again with the same
        result.
        """
        if epoch.number not in self._logged:
            self._outbox.put(Entry(_epoch_points(epoch)))

    def log_system_metrics(self, measured: Mapping[str, float], step: int) -> None:
        """Log load and memory of the machine."""
        now = milliseconds()
        self._outbox.put(Entry([Point(name, value, now, step) for name, value in measured.items()]))

    def log_result(
        self,
        data: ImageData,
        on_val: Mapping[str, float],
        on_test: Mapping[str, float],
        note: str,
        fill: Callable[[Path], None],
    ) -> None:
        """Log the result as one entry, which also ends the run as FINISHED.

        The metrics are linked to the logged model and to the part of the data set that they were measured on.

        Args:
            on_val, on_test: Final metrics by name.
            note: The run's new description, in Markdown.
            fill: Writes artifacts into ``files/`` and the MLflow model into ``model/`` of the folder that it is given.

        Raises:
            TP1Error: The result cannot be written to disk.
        """
        now, inputs = milliseconds(), dataset_inputs(data)
        # Points without a step: the UI draws them as bars, side by side for compared runs.
        points = [
            Point(name, value, now, of_model=True, dataset=(part.dataset.name, part.dataset.digest))
            for part, metrics in ((inputs["val"], on_val), (inputs["test"], on_test))
            for name, value in metrics.items()
        ]
        entry = Entry(points, {NOTE_TAG: note}, "FINISHED", self._end_time())
        try:
            self._outbox.put(entry, fill)
        except OSError as error:
            raise state_unwritable(error) from error

    def log_pruned(self, epochs: int, on_val: Mapping[str, float], note: str) -> None:
        """Log that a trial was stopped early, which also ends the run for good: as KILLED, so never as a finished one.

        Args:
            epochs: Number of complete epochs.
            on_val: Final metrics by name.
            note: The run's new description, in Markdown.
        """
        now = milliseconds()
        points = [Point(name, value, now) for name, value in on_val.items()]
        self._outbox.put(Entry(points, {NOTE_TAG: note, PRUNED_TAG: str(epochs)}, "KILLED", self._end_time()))

    def log_figures(self, draw: Callable[[Path], None]) -> None:
        """Log figures of a result that is logged already; where they cannot be drawn, that is only said.

        Args:
            draw: Writes the figures into the folder that it is given.
        """

        def fill(folder: Path) -> None:
            (folder / "files").mkdir()
            draw(folder / "files")

        try:
            self._outbox.put(Entry(), fill)
        except Exception as error:  # too little memory or disk, or whatever a font makes of a name
            if interruption(error) is not None:
                raise
            say(f"The figures could not be drawn ({why(error)}): the run has its model and its numbers without them.")

    def end(self, status: str, error: BaseException | None = None) -> None:
        """End the run; do nothing if its end is already in the outbox or :attr:`begun` is False.

        Args:
            error: Written to ``error.txt``.
        """
        if not self.begun or self._outbox.has_end():
            return

        def fill(folder: Path) -> None:
            (folder / "files").mkdir()
            (folder / "files" / "error.txt").write_text(error_text(error) if error else "", encoding="utf-8")

        entry = Entry(status=status, end_time=self._end_time())
        try:
            self._outbox.put(entry, fill if error is not None else None)
        except OSError:  # such as a full disk: then end the run without error.txt
            self._outbox.put(entry)

    def close(self, patience: float, at_most: float = float("inf")) -> bool:
        """Wait until all entries are sent, and warn if some are not; arguments and result as in ``Outbox.close``."""
        whole = False
        try:
            whole = self._outbox.close(patience, at_most)
        finally:  # also if the user interrupts the wait
            if not whole:
                click.echo(f"Warning: {self._unsent()}", err=True)
        return whole

    def _unsent(self) -> str:
        return (
            f"{self._outbox.waiting} entries of run {self.info.run_id} ({self._outbox.size() / 1e6:.1f} MB) could not "
            f"be sent and are kept in {self.folder.outbox}: `tp1 sync` sends them when the tracking store is back."
        )

    def _deliver(self, entry: Entry) -> None:
        self._model_id = deliver(self._client, self.info.run_id, entry) or self._model_id

    @property
    def model_uri(self) -> str | None:
        """The URI of the logged model; None until it is sent."""
        return None if self._model_id is None else f"models:/{self._model_id}"

    def _end_time(self) -> int:
        return max(milliseconds(), int(self.info.start_time))  # the clock may have been set back


@contextmanager
def training_run(
    plan: Plan,
    resumed: RunFolder | None = None,
    *,
    parent: ToolRun | None = None,
    launched: str | None = None,
) -> Iterator[RunWriter]:
    """Yield the writer of a new or resumed training run; when the block ends, the outbox is sent and closed.

    :meth:`RunWriter.log_result` ends the run as FINISHED, :meth:`RunWriter.log_pruned` as KILLED. A signal ends it as
    KILLED, and any other error as FAILED, with ``error.txt``; the interrupt or error is raised again. The run's folder
    stays while the run can be resumed or has entries to send; otherwise it is removed.

    Args:
        plan: What the run shall do.
        resumed: The folder of the run to resume, with an empty outbox.
        parent: The parent of the run.
        launched: The id of the run that ``mlflow run`` has started for this process.

    Raises:
        TP1Error: Another process owns the run to resume or has ended it, or the state directory cannot be written.
    """
    writer: RunWriter | None = None
    with ExitStack() as stack:
        try:
            with deferred():  # delay signals until there is a run to end
                if resumed is None:
                    writer = _begin(plan, parent, launched, stack)
                else:
                    writer = _begin_again(resumed, parent, stack)
            if parent is None:
                say(f"Tracking in {writer.folder.store()}\nSee {writer.page}")
            with sampled(writer.info.run_id, writer.log_system_metrics):
                yield writer
        except BaseException as error:
            if (stop := interruption(error)) is not None:
                if writer is not None:
                    with deferred():  # of several processes, the end of one brings a signal to the others
                        _interrupt(writer, plan, stop)
                raise stop from None if stop is error else error
            if writer is not None:
                with deferred():
                    _fail(writer, error)
            raise
        if writer.close(PATIENCE):
            writer.folder.remove()


def point_to(launched: str, run_id: str) -> None:
    """Name the resumed run in the run that ``mlflow run`` has started for this process: as name, tag and note."""
    check_launched(launched)
    client = MlflowClient()
    note = f"**resume**: goes on with run {run_id}, which has all parameters, metrics and files.\n"
    for key, value in {NAME_TAG: "resume", "tp1.resumes": run_id, NOTE_TAG: note}.items():
        client.set_tag(launched, key, value)


def _begin(plan: Plan, parent: ToolRun | None, launched: str | None, stack: ExitStack) -> RunWriter:
    """Start a run with name and tags; this process owns it until ``stack`` is closed."""
    tags = run_tags(plan.experiment, plan.configuration)
    tags |= {"tp1.seed": str(plan.config.seed), NAME_TAG: plan.label}
    if plan.trial is not None:
        tags |= {SWEEP_TAG: plan.trial.sweep, TRIAL_TAG: str(plan.trial.number)}
    run_id = begin_run(tags, parent.info if parent else None, launched)
    try:
        owned = stack.enter_context(held(run_id))
        folder = create_folder(run_id, plan, masked(mlflow.get_tracking_uri()))
        run = MlflowClient().get_run(run_id)
        mark_experiment(run.info.experiment_id)
        return RunWriter(run, folder, owned, resumed=False, parent=parent)
    except BaseException as error:
        fail_run(run_id, error)
        raise


def _begin_again(folder: RunFolder, parent: ToolRun | None, stack: ExitStack) -> RunWriter:
    owned = stack.enter_context(held(folder.run_id))
    run = find_run(folder.run_id)
    if is_over(run) or not folder.is_there:  # another process has ended it meanwhile
        raise TP1Error(f"run {folder.run_id} has been ended by another process: there is nothing to go on with.")
    return RunWriter(run, folder, owned, resumed=True, parent=parent)


def _interrupt(writer: RunWriter, plan: Plan, stop: KeyboardInterrupt) -> None:
    writer.end("KILLED", stop if isinstance(stop, Interrupted) and stop.reason else None)
    writer.close(patience=5, at_most=INTERRUPTED_AT_MOST)
    one = f"mlflow run . -e {plan.experiment} -P resume={writer.info.run_id}"
    say(f"Go on with: {one if plan.trial is None else plan.trial.command}")


def _fail(writer: RunWriter, error: BaseException) -> None:
    writer.end("FAILED", error)
    whole = writer.close(patience=5, at_most=FAILED_AT_MOST)
    if whole and writer.begun and writer.folder.epochs() is None:  # nothing to resume from
        writer.folder.remove()


def _epoch_points(epoch: Epoch) -> list[Point]:
    values = {
        "train/loss": epoch.train_loss,
        "train/accuracy": epoch.train_accuracy,
        "val/loss": epoch.val_loss,
        "val/accuracy": epoch.val_accuracy,
        "train/images_per_second": epoch.images_per_second,
    }
    return [Point(name, value, epoch.ended, epoch.number) for name, value in values.items()]
