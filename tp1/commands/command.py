"""A command: options in every spelling, errors in one line, signals as exit codes."""

import logging
import os
from collections.abc import Callable
from typing import Any

import click
from mlflow.exceptions import MlflowException

from tp1.base.errors import TP1Error
from tp1.base.interrupts import Interrupted, interruptible, interruption, watch_launcher
from tp1.base.names import message_line
from tp1.store.access import refused
from tp1.store.addresses import masked


class BadArguments(click.ClickException):
    """Arguments that cannot be understood; one line, without click's reminder of the usage."""

    exit_code = 2


class Command(click.Command):
    """A command that takes every option also as ``key=value``, and spelled with ``_`` or ``-``.

    Args:
        on_bad_arguments: Called with the message before bad arguments are reported.
    """

    def __init__(self, *args: Any, on_bad_arguments: Callable[[str], None] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_bad_arguments = on_bad_arguments
        self.params.append(
            click.Option(["--verbose"], is_flag=True, expose_value=False, help="Show the whole traceback of an error.")
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["verbose"] = "--verbose" in args
        if not ctx.meta["verbose"]:  # MLflow tells of every table that it makes, and of its metrics thread
            logging.getLogger("mlflow").setLevel(logging.WARNING)
            os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        # A request to a server that is away fails within a minute, not after MLflow's half hour; what training has to
        # log is sent again by its outbox.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        for argument in args:
            if "\0" in argument:  # no file's name can have one, and click's check of paths would raise
                raise click.UsageError(f"{argument!r} has a NUL character in it.", ctx)
        return super().parse_args(ctx, _as_options(args))

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            message = message_line(error.format_message())
        # Outside the block above: what is recorded of an error names its causes too, and click's message may hold bytes
        # that no file takes.
        if self.on_bad_arguments is not None:
            try:
                self.on_bad_arguments(message)
            except (TP1Error, MlflowException) as second:  # the tracking server is away as well
                raise click.ClickException(one_line(second)) from second
        raise BadArguments(message)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with interruptible():
                watch_launcher()
                try:
                    return super().invoke(ctx)
                except Exception as error:
                    if (stop := interruption(error)) is not None:
                        raise stop from error
                    raise
        except (click.ClickException, click.exceptions.Exit):
            raise
        except KeyboardInterrupt as interrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(interrupt.exit_code if isinstance(interrupt, Interrupted) else 130)
        except Exception as error:
            if ctx.meta["verbose"]:
                raise
            raise click.ClickException(one_line(error)) from error


def take_launched_run() -> str | None:
    """The id of the run that ``mlflow run`` has started for this process; None without ``mlflow run``.

    It is taken out of the environment, once: whatever this process starts later has another run.
    """
    return os.environ.pop("MLFLOW_RUN_ID", None)


def one_line(error: BaseException) -> str:
    """What users see of an error: the message, with its type where it is not one of ours."""
    if isinstance(error, TP1Error):
        return message_line(str(error))
    if said := refused(error):
        return said
    first = message_line((str(error).splitlines() or [""])[0])
    kind = "MLflow" if isinstance(error, MlflowException) else type(error).__name__
    return f"{kind}: {masked(first)} (the whole story: --verbose, or error.txt of the run)"


def _as_options(arguments: list[str]) -> list[str]:
    """``key=value`` as ``--key=value``; what follows ``--key`` is its value, whatever it looks like."""
    result: list[str] = []
    for argument in arguments:
        after_name = bool(result) and result[-1].startswith("--") and "=" not in result[-1]
        is_value = after_name and result[-1] not in ("--verbose", "--help")
        result.append(argument if is_value else _as_option(argument))
    return result


def _as_option(argument: str) -> str:
    name, equals, value = argument.partition("=")
    bare = name.lstrip("-")
    if argument.startswith("--") or (equals and bare == name and name.replace("_", "").replace("-", "").isalpha()):
        return f"--{bare.replace('_', '-')}{equals}{value}"
    return argument
