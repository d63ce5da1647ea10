"""Registration of a data set's best model: as champion if it beats the champion, else as challenger.

Repeat: mlflow run . -e promote -P dataset=cifar10
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from tp1.base.errors import TP1Error
from tp1.commands.command import Command
from tp1.commands.parameters import Names, config_options
from tp1.commands.tool import tool_command
from tp1.config import READING, TrainConfig
from tp1.data.dataset import ImageData, load_data
from tp1.experiment import Experiment, Study
from tp1.registry.requirements import Requirement, parse_requirements
from tp1.report.selection import nothing_found, select
from tp1.store.addresses import how_to_open
from tp1.store.reader import RunReader
from tp1.tracking.tool_run import ToolRun

DEFAULTS = TrainConfig(dataset="cifar10")


def promote_command(catalog: Sequence[Experiment | Study]) -> Command:
    """Return the command ``promote``."""
    return tool_command(
        "promote",
        "Register the best model of a data set; it becomes champion if it beats the champion on the validation images.",
        [
            *config_options(DEFAULTS, ("dataset", "data_dir", "image_size", *READING)),
            click.Option(
                ["--experiments"],
                type=Names([entry.name for entry in catalog]),
                help="The best of these alone.  [default: all]",
            ),
            click.Option(
                ["--require"],
                type=Limits(),
                help="Refuse it if it falls short on validation images: corruption:0.60,ece:0.05, accuracy, brier.",
            ),
            click.Option(["--force"], metavar="REASON", help="Make it champion all the same; the reason is recorded."),
        ],
        partial(promote, catalog),
    )


def promote(
    catalog: Sequence[Experiment | Study],
    run: ToolRun,
    dataset: str = DEFAULTS.dataset,
    data_dir: Path | None = None,
    image_size: int | None = None,
    experiments: tuple[str, ...] | None = None,
    require: tuple[Requirement, ...] = (),
    force: str | None = None,
    test_from: str = DEFAULTS.test_from,
    skip_broken: str = DEFAULTS.skip_broken,
    drop_duplicates: str = DEFAULTS.drop_duplicates,
) -> list[str]:
    """Register the best run's model as champion or challenger; return the lines to print."""
    from tp1.registry.promotion import choose_candidate  # imported late, because it imports torch
    from tp1.registry.promotion import promote as decide

    config = TrainConfig(
        dataset=dataset,
        data_dir=data_dir,
        image_size=image_size,
        test_from=test_from,
        skip_broken=skip_broken,
        drop_duplicates=drop_duplicates,
    )
    if force is not None and not force.strip():
        raise TP1Error("force= takes the reason, which is recorded.")
    run.log_parameters({"dataset": dataset, "force": force or "", "require": ",".join(map(str, require))})
    reader = RunReader()
    data = load_data(config.dataset, config.data_dir, config.image_size, **config.reading)
    run.rename(f"promote-{data.name}")
    selection = select(reader, catalog, experiments, data.name)
    groups = selection.groups
    if not groups:
        raise nothing_found(reader, experiments, f" on {data.name}")

    def data_at(size: tuple[int, int]) -> ImageData:
        if size == data.image_shape[:2]:
            return data
        return load_data(config.dataset, config.data_dir, size[0], **config.reading)

    with TemporaryDirectory() as folder:
        candidate = choose_candidate(groups, data, Path(folder), selection.sweeps)
        line = (
            f"Candidate: {candidate.run.name}, run {candidate.run.run_id}, validation accuracy "
            f"{candidate.run.metrics['best/val_accuracy']:.4f}."
        )
        decision = decide(candidate, data, data_at, force, require)
    what = "champion" if decision.is_champion else "challenger"
    run.log_note(f"**promote**: {decision.version} is {what}. {decision.verdict}\n\n    {run.command}\n")
    uri = f"models:/{decision.version.name}@{what}"
    page = how_to_open(reader.uri, f"models/{decision.version.name}/versions/{decision.version.number}")
    return [*candidate.passed_over, line, decision.verdict, f"{decision.version} is {what}: {uri}", f"Its card: {page}"]


class Limits(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3
    """What is required of a candidate, as ``NAME:LIMIT`` separated by commas."""

    name = "name:limit,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Requirement, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return parse_requirements(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
