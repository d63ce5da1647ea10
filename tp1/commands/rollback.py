"""Rollback: make the former champion of a data set champion again.

Repeat: mlflow run . -e rollback -P dataset=cifar10
"""

import click

from tp1.commands.command import Command
from tp1.commands.tool import tool_command
from tp1.data.sources import dataset_name
from tp1.registry.versions import registered_name
from tp1.tracking.tool_run import ToolRun


def rollback_command() -> Command:
    """Return the command ``rollback``."""
    return tool_command(
        "rollback",
        "Make the former champion of a data set champion again.",
        [click.Option(["--dataset"], help="Its name, or the path of its folder.  [default: cifar10]")],
        rollback,
    )


def rollback(run: ToolRun, dataset: str = "cifar10") -> list[str]:
    """Point the alias ``champion`` back to the former champion; return the line to print."""
    from tp1.registry.promotion import rollback as step_back  # imported late, because it imports torch

    run.log_parameters({"dataset": dataset})
    name = dataset_name(dataset)
    run.rename(f"rollback-{name}")
    stepped_back, champion = step_back(registered_name(name), dataset)
    line = f"{champion} is champion again, in place of version {stepped_back.number}."
    run.log_note(f"**rollback**: {line}\n\n    {run.command}\n")
    return [line]
