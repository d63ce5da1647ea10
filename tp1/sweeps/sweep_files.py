"""What the run of a sweep keeps: a table of the trials, figures, metrics, and a description."""

from collections.abc import Mapping

from tp1.report.figure_files import plain_png
from tp1.report.markdown import escape_markdown, indented
from tp1.report.sweep_figures import Axis, Tried, accuracy_axis, history, importances, parallel_coordinates
from tp1.report.sweeps import ACCURACY, FINISHED, PRUNED, SweepTrials, number_of, shown_values, state_of, trials_frame
from tp1.sweeps.space import Dimension, Space, Value


def sweep_files(space: Space, trials: SweepTrials, shares: Mapping[str, float]) -> dict[str, bytes]:
    """Return ``trials.csv``, ``history.png``, ``parallel_coordinates.png``, and ``importances.png`` if there are any.

    Args:
        shares: The importance of each parameter.
    """
    shown = [one for one in trials.ended.values() if ACCURACY in one.metrics]
    tried = [Tried(number_of(one), one.metrics[ACCURACY], state_of(one) == FINISHED) for one in shown]
    files = {"trials.csv": trials_frame(trials, space.names).to_csv(index=False).encode()}
    if tried:
        axes = [_axis(one, [one.read(run.params[one.name]) for run in shown]) for one in space.dimensions]
        files["history.png"] = plain_png(history(tried))
        files["parallel_coordinates.png"] = plain_png(parallel_coordinates([*axes, accuracy_axis(tried)], tried))
    if shares:
        files["importances.png"] = plain_png(importances(shares))
    return files


def sweep_metrics(trials: SweepTrials) -> dict[str, float]:
    """Return counts, epochs and the best validation accuracy."""
    counts = trials.counts
    found: dict[str, float] = {
        "sweep/finished": counts[FINISHED],
        "sweep/pruned": counts[PRUNED],
        "sweep/not_finished": len(trials.trials) - counts[FINISHED] - counts[PRUNED],
        "sweep/epochs_run": trials.epochs_run,
        "sweep/epochs_saved": trials.epochs_saved,
    }
    return found if trials.best is None else found | {"sweep/best_val_accuracy": trials.best.metrics[ACCURACY]}


def summary(space: Space, trials: SweepTrials, shares: Mapping[str, float]) -> list[str]:
    """Return what a sweep has found as lines of text.

    Args:
        shares: The importance of each parameter.
    """
    counts, whole = trials.counts, trials.epochs_run + trials.epochs_saved
    others = len(trials.trials) - counts[FINISHED] - counts[PRUNED]
    lines = [
        f"{len(trials.trials)} trials: {counts[FINISHED]} finished, {counts[PRUNED]} stopped early, {others} not "
        f"finished; {trials.epochs_run} of {whole} epochs run, {trials.epochs_saved} "
        f"({trials.epochs_saved / max(whole, 1):.0%}) saved."
    ]
    if shares:
        named = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
        lines.append(f"Importance among the finished trials: {named}.")
    if trials.best is not None:
        lines.append(
            f"Best: trial {number_of(trials.best)}, validation accuracy {trials.best.metrics[ACCURACY]:.4f}: "
            f"{shown_values(trials.best, space.names)}."
        )
    return lines


def describe_sweep(name: str, lines: list[str], best_command: str | None, command: str) -> str:
    """Return the description of a sweep's run in Markdown.

    Args:
        lines: Its :func:`summary`.
        best_command: Trains the best trial's parameters with several seeds; None without a finished trial.
    """
    parts = [f"**sweep of {name}**", *(escape_markdown(line) for line in lines)]
    if best_command is not None:
        parts += ["Train the best with several seeds:", indented(best_command)]
    return "\n\n".join([*parts, "Go on with the sweep, or repeat it:", indented(command)]) + "\n"


def _axis(one: Dimension, values: list[Value]) -> Axis:
    ends = [one.low, one.high]
    ticks: list[Value] = list(one.values) if one.values else [*ends]
    return Axis(
        f"{one.name} (log)" if one.log else one.name,
        [one.place(value) for value in values],
        [(one.place(tick), f"{tick:g}" if isinstance(tick, float) else str(tick)) for tick in ticks],
    )
