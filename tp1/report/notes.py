"""The description of a run, which the tracking UI shows above its figures."""

from collections.abc import Mapping

from tp1.config import TrainConfig
from tp1.experiment import Experiment
from tp1.report.markdown import escape_markdown, indented

NOTED = ("test/accuracy", "val/accuracy", "val/loss", "test/precision_macro", "test/recall_macro", "test/f1_macro")


def describe_run(
    experiment: Experiment,
    config: TrainConfig,
    dataset: str,
    command: str,
    measured: Mapping[str, float] | None = None,
    best_epoch: int | None = None,
    state: str = "",
) -> str:
    """Describe a run in Markdown: title, published beside measured figures, and the command to repeat it.

    Args:
        dataset: The data set's name.
        command: Command that repeats the run.
        measured: Metrics by name; None while the run is going on.
        best_epoch: Number of the best epoch, from 1; None while the run is going on.
        state: A sentence about a run without a result; by default, that it is going on.
    """
    section = f" Section {experiment.section} of the report." if experiment.section else ""
    title = (
        f"**{experiment.label}**: {experiment.model_name} on {escape_markdown(dataset)}, seed {config.seed}.{section}"
    )
    if measured is None or best_epoch is None:
        result = [state or f"Running: {config.epochs} epochs."]
    else:
        published = experiment.published_on(config.dataset)
        columns = ["published", "measured"] if published else ["measured"]
        # The UI folds long descriptions, so the table comes first.
        result = [f"| | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
        for name in NOTED:
            before = f"{published[name]:.4g}" if name in published else "–"
            cells = [before] * bool(published) + [f"{measured[name]:.4f}"]
            result.append(f"| {name} | {' | '.join(cells)} |")
        last = "; published at the last" if published else ""
        result += ["", f"n = 1; measured at the best validation epoch, {best_epoch} of {config.epochs}{last}."]
    return "\n".join([title, "", *result, "", experiment.summary, "", "Repeat it:", "", indented(command), ""])
