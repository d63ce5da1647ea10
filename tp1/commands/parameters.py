"""Parameters of commands: their types, the options for a configuration, and the command line of given values."""

import shlex
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from tp1.config import PARAMETERS, TrainConfig
from tp1.sweeps.spread import MOST_WORKERS

MODEL_HELP = "models:/NAME@ALIAS, models:/m-ID, the id of a run, or a folder from download."


class Numbers(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3
    """Whole numbers separated by commas, such as ``0,1,2``; repeated ones count once."""

    name = "n,n,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(dict.fromkeys(int(part) for part in value.split(",")))
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers such as 0,1,2.", param, ctx)


SPREAD_OPTIONS: list[click.Parameter] = [
    click.Option(
        ["--workers"],
        type=click.IntRange(1, MOST_WORKERS),
        help="How many runs at a time, each in a process with its share of processors, or one GPU.  [default: 1]",
    ),
    click.Option(
        ["--ray"],
        metavar="local|auto|HOST:PORT",
        help="Do the runs on a Ray cluster: one of this machine, the one that it is part of, or the one there.",
    ),
]


class Names(click.ParamType):  # type: ignore[type-arg]
    """Names separated by commas; repeated ones count once.

    Args:
        known: The valid names.
    """

    name = "name,..."

    def __init__(self, known: Sequence[str]) -> None:
        self.known = known

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = tuple(dict.fromkeys(part.strip() for part in value.split(",")))
        for name in names:
            if name not in self.known:
                close = get_close_matches(name, self.known, n=1)
                hint = f" Did you mean {close[0]}?" if close else f" There are {', '.join(self.known)}."
                self.fail(f"{name!r} is not known.{hint}", param, ctx)
        return names


def config_options(config: TrainConfig | None, names: Collection[str] | None = None) -> list[click.Parameter]:
    """Return an option for each field of a configuration, or for those in ``names``.

    Args:
        config: Has the defaults that the help shows; None if they depend on other options.
    """
    options: list[click.Parameter] = []
    defaults = {} if config is None else config.flat()
    for name, parameter in PARAMETERS.items():
        if names is not None and name not in names:
            continue
        shown = "" if defaults.get(name) is None else f"  [default: {defaults[name]}]"
        kind = click.Path(path_type=Path) if parameter.kind is Path else parameter.kind
        options.append(click.Option([f"--{name.replace('_', '-')}"], type=kind, help=parameter.help + shown))
    return options


def as_command(name: str, values: Mapping[str, Any]) -> str:
    """Return the ``mlflow run`` command for an entry point with parameters."""
    parameters = [part for key, value in values.items() for part in ("-P", f"{key}={_as_text(value)}")]
    return shlex.join(["mlflow", "run", ".", "-e", name, *parameters])


def given_values(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the user gave; click sets the others to None."""
    return {key: value for key, value in options.items() if value is not None}


def _as_text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
