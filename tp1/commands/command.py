"""The base class of commands: spellings of options, errors as one line, exit codes for signals."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from mlflow.exceptions import MlflowException

from tp1.base.errors import TP1Error, why
from tp1.base.interrupts import Interrupted, interruptible, interruption, watch_launcher
from tp1.base.launcher import launch_folder
from tp1.base.names import message_line
from tp1.base.processes import process_rank
from tp1.store.access import refused
from tp1.store.addresses import absolute, masked_text
from tp1.store.proxies import reach_local_hosts


class BadArguments(click.ClickException):
    """Invalid arguments, reported in one line without click's usage text."""

    exit_code = 2


class Command(click.Command):
    """A command whose options may also be given as ``key=value``, spelled with ``_`` or ``-``.

    Args:
        on_bad_arguments: Called with the message before invalid arguments are reported.
        tracked: Whether the command does its work in a run, which then has an ``error.txt``.
    """

    def __init__(
        self, *args: Any, on_bad_arguments: Callable[[str], None] | None = None, tracked: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.on_bad_arguments = on_bad_arguments
        self.whole_story = "--verbose, or error.txt of the run" if tracked else "--verbose"
        self.params.append(
            click.Option(["--verbose"], is_flag=True, expose_value=False, help="Show the whole traceback of an error.")
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["verbose"] = "--verbose" in args
        if not ctx.meta["verbose"]:  # MLflow logs every table that it creates, and its metrics thread
            logging.getLogger("mlflow").setLevel(logging.WARNING)
            os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        # A request to an unreachable server fails within a minute, instead of MLflow's half hour. Training loses
        # nothing: its outbox sends again.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        reach_local_hosts()
        for argument in args:
            if "\0" in argument:  # no file name can contain one, and click's check of paths would raise
                raise click.UsageError(f"{argument!r} has a NUL character in it.", ctx)
        return super().parse_args(ctx, _as_options(args, self._flags()))

    def _flags(self) -> set[str]:
        flags = [option for option in self.params if isinstance(option, click.Option) and option.is_flag]
        return {"--help", *(name for option in flags for name in option.opts)}

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        work_where_the_user_is()
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            message = message_line(error.format_message())
        # Outside the except block: error.txt includes the causes of an error, and click's message may hold bytes that
        # cannot be written to a file.
        if self.on_bad_arguments is not None and process_rank() == 0:
            try:
                self.on_bad_arguments(message)
            except (TP1Error, MlflowException) as second:  # the tracking server does not work either
                raise click.ClickException(one_line(second, "--verbose")) from second
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
            raise click.ClickException(one_line(error, self.whole_story)) from error


def work_where_the_user_is() -> None:
    """Let relative paths and addresses mean the same with ``mlflow run`` as without it.

    ``mlflow run`` starts this process in the project's folder, which may be a temporary clone.

    Raises:
        ClickException: The user's folder cannot be known, and the address of the store depends on it.
    """
    try:
        if (folder := launch_folder()) is not None:
            os.chdir(folder)
        return
    except (LookupError, OSError):  # or the folder was removed meanwhile
        pass
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if absolute(uri) != uri:
        raise click.ClickException(
            f"MLFLOW_TRACKING_URI={uri} is relative to the folder that mlflow run was started in, which is not known "
            "here: give the whole path (sqlite:////PATH/mlflow.db)."
        )
    click.echo(f"Note: where mlflow run was started is not known here; relative paths are in {Path.cwd()}.", err=True)


def take_launched_run() -> str | None:
    """Return the id of the run that ``mlflow run`` has started for this process; None without ``mlflow run``.

    The call also removes the id from the environment, so that nothing else in this process uses the same run.
    """
    return os.environ.pop("MLFLOW_RUN_ID", None)


def one_line(error: BaseException, where: str = "error.txt of the run") -> str:
    """Return the line that users see of an error.

    It is the message of a :class:`TP1Error`, the explanation of a refused request, or else type and message.

    Args:
        where: Where the whole error can be read; empty if nowhere.
    """
    if isinstance(error, TP1Error):
        return message_line(str(error))
    if said := refused(error):
        return said
    first = message_line(why(error))
    kind = "MLflow" if isinstance(error, MlflowException) else type(error).__name__
    said = kind if first == kind else f"{kind}: {masked_text(first)}"
    return f"{said} (the whole story: {where})" if where else said


def _as_options(arguments: list[str], flags: set[str]) -> list[str]:
    """Return the arguments with ``key=value`` as ``--key=value``; whatever follows ``--key`` is kept as its value.

    Args:
        flags: Options that take no value.
    """
    result: list[str] = []
    for argument in arguments:
        after_name = bool(result) and result[-1].startswith("--") and "=" not in result[-1]
        is_value = after_name and result[-1] not in flags
        result.append(argument if is_value else _as_option(argument))
    return result


def _as_option(argument: str) -> str:
    name, equals, value = argument.partition("=")
    bare = name.lstrip("-")
    if argument.startswith("--") or (equals and bare == name and name.replace("_", "").replace("-", "").isalpha()):
        return f"--{bare.replace('_', '-')}{equals}{value}"
    return argument
