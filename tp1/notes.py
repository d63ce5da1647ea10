"""A run's description, which the tracking UI shows above its figures."""

from collections.abc import Mapping

from tp1.config import TrainConfig
from tp1.experiment import Experiment


def describe_run(
    experiment: Experiment,
    config: TrainConfig,
    command: str,
    measured: Mapping[str, float] | None = None,
    best_epoch: int | None = None,
) -> str:
    """The run's description in Markdown: what it is, how to repeat it, and published beside measured."""
    section = f" Section {experiment.section} of the report." if experiment.section else ""
    lines = [
        f"**{experiment.name}**, {experiment.model_name} on {config.dataset}, seed {config.seed}. "
        f"{experiment.summary}{section}",
        "",
    ]
    lines += ["Repeat it:", "", f"    {command}", ""]
    if measured is None or best_epoch is None:
        return "\n".join([*lines, f"Running: {config.epochs} epochs."])
    # Published figures are of the report's own data set: beside another they would mean nothing.
    published = experiment.published.metrics() if config.dataset == experiment.config.dataset else {}
    lines += ["| | published | measured |", "|---|---|---|"]
    for name in (
        "val/accuracy",
        "val/loss",
        "test/accuracy",
        "test/precision_macro",
        "test/recall_macro",
        "test/f1_macro",
    ):
        before = f"{published[name]:.4g}" if name in published else "–"
        lines.append(f"| {name} | {before} | {measured[name]:.4f} |")
    return "\n".join(
        [
            *lines,
            "",
            f"n = 1. Best validation epoch: {best_epoch} of {config.epochs}; its weights are the logged model.",
        ]
    )
