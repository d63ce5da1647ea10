"""The ``tp1`` command: every experiment and tool in this folder, and the commands that look after runs."""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click

import experiments
from tp1.cli import experiment_command
from tp1.commands import cache_command, export_command, import_command, store_command
from tp1.experiment import Experiment
from tp1.mlproject import render


def modules() -> Iterator[ModuleType]:
    """The modules that are entry points: those with an ``experiment`` or a ``command``, by name."""
    for found in sorted(pkgutil.iter_modules(experiments.__path__), key=lambda found: found.name):
        if not found.name.startswith("_"):
            module = importlib.import_module(f"experiments.{found.name}")
            if hasattr(module, "experiment") or hasattr(module, "command"):
                yield module


def command_of(module: ModuleType) -> click.Command:
    """The click command of an entry point's module."""
    found = getattr(module, "experiment", None)
    if isinstance(found, Experiment):
        return experiment_command(found)
    command: click.Command = module.command
    return command


def render_mlproject() -> str:
    """The text of ``MLproject``: one entry point for each module."""
    return render({command_of(module).name or "": module.__name__ for module in modules()})


mlproject_command = click.Command(
    "mlproject",
    callback=lambda: Path("MLproject").write_text(render_mlproject()),
    help="Write MLproject anew from the modules in experiments/ (make mlproject).",
)


@click.group(help="Experiments tracked with MLflow: train, look at data, keep and load runs.")
@click.version_option(package_name="tp1")
def main() -> None:
    """Entry point of the ``tp1`` command."""


for _module in modules():
    main.add_command(command_of(_module))
for _command in (cache_command, export_command, import_command, store_command, mlproject_command):
    main.add_command(_command)

if __name__ == "__main__":
    main(prog_name="python -m experiments")
