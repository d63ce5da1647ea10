"""What there is to run: the modules in this folder."""

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import click

import experiments
from tp1.commands.cli import experiment_command, study_command
from tp1.commands.mlproject import render
from tp1.experiment import Experiment, Study


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
    if isinstance(found, Study):
        return study_command(found)
    command: click.Command = module.command
    return command


def render_mlproject() -> str:
    """The text of ``MLproject``: one entry point for each module."""
    return render({command_of(module).name or "": module.__name__ for module in modules()})


def catalog() -> list[Experiment | Study]:
    """Every experiment and study in the order of the report; what is not in the report comes last, by name."""
    found = [module.experiment for module in modules() if hasattr(module, "experiment")]
    return sorted(found, key=lambda entry: (entry.section or "~", getattr(entry, "figures", ()), entry.name))
