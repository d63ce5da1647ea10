"""The ``tp1`` command: all experiments, all tools, and the maintenance commands."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from tp1.base.errors import TP1Error
from tp1.base.processes import process_rank
from tp1.base.progress import silent
from tp1.commands.cache import cache_command
from tp1.commands.command import Command
from tp1.commands.compare import compare_command
from tp1.commands.download import download_command
from tp1.commands.eda import eda_command
from tp1.commands.evaluate import evaluate_command
from tp1.commands.main import main_command
from tp1.commands.mlproject import render_mlproject
from tp1.commands.predict import predict_command
from tp1.commands.promote import promote_command
from tp1.commands.records import export_command, import_command
from tp1.commands.report import report_command
from tp1.commands.rollback import rollback_command
from tp1.commands.runs import runs_command, sync_command
from tp1.commands.store import store_command
from tp1.commands.sweep import sweep_command
from tp1.commands.team import account_command, migrate_command, server_init_command, share_command
from tp1.commands.training import training_command
from tp1.experiment import Experiment, Study

Catalog = Sequence[Experiment | Study]

# Entry points of the MLflow project besides the experiments, each with the function that makes its command.
TOOLS: dict[str, Callable[[Catalog], Command]] = {
    "compare": compare_command,
    "download": download_command,
    "eda": lambda catalog: eda_command(),
    "evaluate": lambda catalog: evaluate_command(),
    "main": main_command,
    "predict": lambda catalog: predict_command(),
    "promote": promote_command,
    "report": report_command,
    "rollback": lambda catalog: rollback_command(),
    "sweep": sweep_command,
}
# Commands for runs, caches and servers; no entry points.
MAINTENANCE = (
    *(cache_command, runs_command, store_command, sync_command),
    *(server_init_command, migrate_command, account_command, share_command),
)
RECORDS = {"export": export_command, "import": import_command}  # the same, but they know the experiments
# How `tp1 --help` lists them. Experiments and studies stand in the first section, in the order of the report.
SECTIONS = {
    "Train": ("sweep", "main"),
    "Look and compare": ("eda", "compare", "report"),
    "Models": ("evaluate", "promote", "rollback", "download", "predict"),
    "Keep and share": ("runs", "sync", "export", "import", "store", "cache", "mlproject"),
    "A team's server": ("server-init", "account", "share", "migrate"),
}
RESERVED = {
    *TOOLS,
    *(str(command.name) for command in MAINTENANCE),
    *RECORDS,
    "mlproject",
}  # names that no experiment can have


class Group(click.Group):
    """A click group that prints the faults in ``experiments/`` before it runs a command.

    Args:
        faults: One line for each experiment file that was left out.
    """

    def __init__(self, *args: Any, faults: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, epilog="\n\n".join(f"Note: {fault}" for fault in faults), **kwargs)
        self.faults = faults

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command; of several processes of one run, the first alone speaks."""
        with silent() if process_rank() else nullcontext():
            return super().main(*args, **kwargs)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section, each with the whole first sentence of its help."""
        tools = {name for names in SECTIONS.values() for name in names}
        sections = dict(SECTIONS)
        first = next(iter(sections))
        sections[first] = (*(name for name in self.commands if name not in tools), *sections[first])
        width = max(map(len, self.commands))
        for title, names in sections.items():
            with formatter.section(title):
                rows = [(name.ljust(width), self.commands[name].get_short_help_str(limit=200)) for name in names]
                formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        for fault in self.faults[1:] if args[:1] == ["mlproject"] else self.faults:  # the first is its error
            click.echo(f"Note: {fault}", err=True)
        return super().resolve_command(ctx, args)


def command_group(catalog: Catalog, faults: Sequence[str] = ()) -> click.Group:
    """Return the ``tp1`` command.

    Args:
        catalog: Every experiment and study, in the order of the report.
        faults: One line for each experiment file that was left out.
    """
    group = Group(
        "tp1",
        help="Experiments tracked with MLflow: train, look at data, keep and load runs.",
        faults=faults,
        context_settings={"max_content_width": 110},
    )
    group = click.version_option(package_name="tp1")(group)
    for entry in catalog:
        group.add_command(training_command(entry))
    for make in (*TOOLS.values(), *RECORDS.values()):
        group.add_command(make(catalog))
    for command in MAINTENANCE:
        group.add_command(command)
    group.add_command(_mlproject_command(catalog, faults))
    return group


def entry_points(catalog: Catalog) -> list[str]:
    """Return the names that ``mlflow run . -e NAME`` accepts."""
    return [*(entry.name for entry in catalog), *TOOLS]


def _mlproject_command(catalog: Catalog, faults: Sequence[str]) -> Command:
    def write() -> None:
        if faults:
            raise TP1Error(f"MLproject is not written: {faults[0]}")
        Path("MLproject").write_text(render_mlproject(entry_points(catalog)), encoding="utf-8")

    return Command(
        "mlproject",
        callback=write,
        params=[],
        help="Write MLproject anew from the files in experiments/ (make mlproject).",
    )
