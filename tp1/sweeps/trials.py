"""One trial of a sweep, in whatever process."""

from dataclasses import dataclass

from tp1.experiment import Experiment
from tp1.report.sweeps import ACCURACY
from tp1.run import Pruned, run_trial
from tp1.store.reader import RunReader
from tp1.store.runs import TrackedRun
from tp1.sweeps.proposals import Judge
from tp1.tracking.lost_runs import take_over
from tp1.tracking.run_folders import Plan, RunFolder
from tp1.tracking.tool_run import ToolRun
from tp1.training.loop import Epoch


@dataclass(frozen=True)
class Tried:
    """A trial that is over.

    Attributes:
        number: Of the trial, from 0.
        accuracies: Validation accuracy after each epoch.
        finished: The best of them; None if the trial was stopped early.
        line: What came of it.
    """

    number: int
    accuracies: list[float]
    finished: float | None
    line: str = ""


def train_trial(
    experiment: Experiment,
    plan: Plan,
    judge: Judge,
    pruner: str,
    folder: RunFolder | None,
    parent: ToolRun,
    again: bool,
) -> Tried:
    """Do one trial.

    Args:
        plan: With the place of the trial in its sweep.
        pruner: The judge's name, for the reason of an early end.
        folder: Of an unfinished run of the trial; None without any.
        parent: The sweep's run.
        again: Whether a process that was at it was lost: what it has left is gone on with.
    """
    assert plan.trial is not None
    number, epochs = plan.trial.number, plan.config.epochs
    if again and (left := take_over(parent, plan.label)) is not None:
        earlier, folder = left
        if folder is None:
            return over(number, earlier, f"run {earlier.run_id} was over when its process was lost")
    accuracies: list[float] = []

    def give_up(epoch: Epoch) -> str | None:
        accuracies.append(epoch.val_accuracy)
        hopeless = judge(epoch.number, epoch.val_accuracy)
        if not hopeless or epoch.number == epochs:  # whoever has all epochs is finished
            return None
        return f"validation accuracy {epoch.val_accuracy:.4f}, too low beside earlier trials ({pruner})."

    result = run_trial(experiment, plan, give_up, folder, parent=parent)
    if isinstance(result, Pruned):
        return Tried(number, accuracies, None, f"stopped after epoch {result.epochs} of {epochs}: {result.reason}")
    best = result.best.val_accuracy
    return Tried(number, accuracies, best, f"validation {best:.4f}, {result.seconds:.0f} s")


def over(number: int, run: TrackedRun, line: str = "") -> Tried:
    """Return a trial that is over as its run tells it."""
    curve = RunReader().read_histories([run.run_id], ["val/accuracy"])[run.run_id]["val/accuracy"]
    return Tried(number, curve, None if run.pruned is not None else run.metrics[ACCURACY], line)
