"""The best run of a data set into the model registry: as champion where it beats the champion, else as challenger.

Repeat: mlflow run . -e promote -P dataset=cifar10
"""

from dataclasses import replace
from pathlib import Path

import click

from experiments.compare import known
from tp1.base.errors import TP1Error
from tp1.commands.cli import Names, config_options, tracked_command
from tp1.config import TrainConfig
from tp1.data.dataset import load_data
from tp1.report.selection import nothing_found, select
from tp1.store.prepare import how_to_open
from tp1.store.runs import RunReader
from tp1.tracking.tool_run import log_note, log_parameters, name_run

DEFAULTS = TrainConfig(dataset="cifar10")


def promote(
    command: str,
    dataset: str = DEFAULTS.dataset,
    data_dir: Path | None = None,
    image_size: int | None = None,
    experiments: tuple[str, ...] | None = None,
    force: str | None = None,
) -> list[str]:
    """Register the best run's model and decide what it is."""
    from experiments.catalog import catalog  # here, for the catalog imports this module
    from tp1.registry.promotion import choose_candidate  # here, for torch comes with it
    from tp1.registry.promotion import promote as decide

    config = replace(DEFAULTS, dataset=dataset, data_dir=data_dir, image_size=image_size)
    log_parameters({"dataset": dataset, "force": force or ""})
    reader = RunReader()
    data = load_data(config.dataset, config.data_dir, config.image_size)
    name_run(f"promote-{data.name}")
    groups = select(reader, catalog(), experiments, data.name).groups
    if not groups:
        raise nothing_found(reader, experiments, f" on {data.name}")
    candidate = choose_candidate(groups)
    lines = [
        f"{label} is better, but has no model here: it was loaded from a record." for label in candidate.passed_over
    ]
    lines.append(
        f"Candidate: {candidate.run.name}, run {candidate.run.run_id}, validation accuracy "
        f"{candidate.run.metrics['best/val_accuracy']:.4f}."
    )
    if force is not None and not force.strip():
        raise TP1Error("force= takes the reason, which is recorded.")
    outcome = decide(candidate, data, force)
    what = "champion" if outcome.is_champion else "challenger"
    log_note(f"**promote**: {outcome.version} is {what}. {outcome.verdict}\n\n    {command}\n")
    uri = f"models:/{outcome.version.name}@{what}"
    page = how_to_open(reader.uri, f"models/{outcome.version.name}/versions/{outcome.version.number}")
    return [*lines, outcome.verdict, f"{outcome.version} is {what}: {uri}", f"Its card: {page}"]


command = tracked_command(
    "promote",
    "Register the best model of a data set; it becomes champion if it beats the champion on the validation images.",
    [
        *config_options(DEFAULTS, ("dataset", "data_dir", "image_size")),
        click.Option(["--experiments"], type=Names(known), help="The best of these alone.  [default: all]"),
        click.Option(["--force"], metavar="REASON", help="Make it champion all the same; the reason is recorded."),
    ],
    promote,
)

if __name__ == "__main__":
    command()
