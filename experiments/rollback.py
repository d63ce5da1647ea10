"""The former champion of a data set is champion again.

Repeat: mlflow run . -e rollback -P dataset=cifar10
"""

import click

from tp1.commands.cli import tracked_command
from tp1.registry import versions as registry
from tp1.tracking.tool_run import log_note, log_parameters, name_run


def rollback(command: str, dataset: str = "cifar10") -> list[str]:
    """Point the alias back."""
    from tp1.registry.promotion import rollback as step_back  # here, for torch comes with it

    log_parameters({"dataset": dataset})
    name_run(f"rollback-{dataset}")
    stepped_back, champion = step_back(registry.registered_name(dataset))
    line = f"{champion} is champion again, in place of version {stepped_back.number}."
    log_note(f"**rollback**: {line}\n\n    {command}\n")
    return [line]


command = tracked_command(
    "rollback",
    "Make the former champion of a data set champion again.",
    [click.Option(["--dataset"], help="Its name.  [default: cifar10]")],
    rollback,
)

if __name__ == "__main__":
    command()
