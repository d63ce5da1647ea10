"""Commands that work inside an MLflow run of their own."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import click

from tp1.base.errors import TP1Error
from tp1.base.processes import process_count
from tp1.base.progress import say
from tp1.commands.command import BadArguments, Command, take_launched_run
from tp1.commands.parameters import as_command, given_values
from tp1.store.addresses import masked
from tp1.store.prepare import prepare_store
from tp1.tracking.tool_run import tool_run


def tool_command(
    name: str,
    help_text: str,
    params: list[click.Parameter],
    body: Callable[..., list[str]],
    is_data: Callable[[Mapping[str, Any]], bool] = lambda given: False,
) -> Command:
    """Return a command that works inside an MLflow run; if it fails, the run records why.

    Args:
        name: The entry point, also the run's tag ``tp1.experiment``.
        params: The options; those that the user does not give are not passed to ``body``.
        body: Called with the :class:`~tp1.tracking.tool_run.ToolRun` and the options; returns the lines to print.
        is_data: Whether, with the given options, standard output is for what another program reads; what is said goes
            to standard error then.
    """

    def callback(**options: Any) -> None:
        given = given_values(options)
        run_tool(name, body, given, err=is_data(given))

    return Command(
        name, callback=callback, params=params, help=help_text, tracked=True, on_bad_arguments=bad_arguments_of(name)
    )


def run_tool(name: str, body: Callable[..., list[str]], changed: Mapping[str, Any], *, err: bool = False) -> None:
    """Call ``body`` with a run and the options in ``changed``, and print the lines that it returns.

    Args:
        err: Print them on standard error.

    Raises:
        TP1Error: ``torchrun`` has started several processes: each would do all of the work.
    """
    if process_count() > 1:
        raise TP1Error(
            f"torchrun starts {process_count()} processes for one training run, and this is not one: start {name} "
            "without it."
        )
    launched = take_launched_run()
    uri = prepare_store()
    with tool_run(name, as_command(name, changed), launched=launched) as run:
        _tell(f"Tracking in {masked(uri)}", err=err)
        lines = body(run, **changed)
    for line in [*lines, f"See {run.page}"]:
        _tell(line, err=err)


def _tell(line: str, *, err: bool) -> None:
    if err:
        click.echo(line, err=True)
    else:
        say(line)


def bad_arguments_of(name: str) -> Callable[[str], None]:
    """Return a function that records invalid arguments of an entry point as a failed run."""

    def record(message: str) -> None:
        launched = take_launched_run()
        prepare_store()
        with suppress(BadArguments), tool_run(name, launched=launched):
            raise BadArguments(message)

    return record
