"""From the command line to a tracked run: one click command per experiment."""

import logging
import os
import shlex
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from mlflow.exceptions import MlflowException

from tp1.base.errors import TP1Error
from tp1.base.interrupts import Interrupted, interruptible, interruption, watch_launcher
from tp1.base.names import message_line
from tp1.config import TrainConfig
from tp1.experiment import Experiment, Study
from tp1.report.notes import describe_outcomes, published_for
from tp1.store.access import refused
from tp1.store.prepare import how_to_open, masked, prepare_store, wait_for_store
from tp1.sweeps.jobs import failures, run_jobs
from tp1.sweeps.training_jobs import STORE_PATIENCE, training_jobs
from tp1.tracking.resumption import find_resumable
from tp1.tracking.tool_run import log_note, name_run, run_tags, tracked_run
from tp1.tracking.training_run import point_to


class BadArguments(click.ClickException):
    """Arguments that cannot be understood; one line, without click's reminder of the usage."""

    exit_code = 2


class Command(click.Command):
    """A command that takes every option also as ``key=value``, and spelled with ``_`` or ``-``.

    Bad arguments are handed to ``on_bad_arguments`` before they are reported.
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
        # tell is sent again by its outbox.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        for argument in args:
            if "\0" in argument:  # which no file's name can have, and click's check of paths would stumble over
                raise click.UsageError(f"{argument!r} has a NUL character in it.", ctx)
        return super().parse_args(ctx, _as_options(args))

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            message = message_line(error.format_message())
        # Out of the block above: what is recorded of an error names those that it came from, and click's message may
        # hold bytes that no file takes.
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


def one_line(error: BaseException) -> str:
    """What users see of an error: the message, with its type where it is not one of ours."""
    if isinstance(error, TP1Error):
        return message_line(str(error))
    if said := refused(error):
        return said
    first = message_line((str(error).splitlines() or [""])[0])
    kind = "MLflow" if isinstance(error, MlflowException) else type(error).__name__
    return f"{kind}: {masked(first)} (the whole story: --verbose, or error.txt of the run)"


def tracked_command(
    name: str, help_text: str, params: list[click.Parameter], body: Callable[..., list[str]]
) -> Command:
    """A command that does its work under an MLflow run, which also records why it failed.

    Args:
        name: The entry point; tag ``tp1.experiment`` of the run.
        params: The options. One that is not given reaches ``body`` as None.
        body: Called with the command that repeats it and the options; returns the lines to print.
    """

    def callback(**given: Any) -> None:
        changed = {key: value for key, value in given.items() if value is not None}
        run_tracked(name, body, changed)

    return Command(name, callback=callback, params=params, help=help_text, on_bad_arguments=bad_arguments_of(name))


def run_tracked(name: str, body: Callable[..., list[str]], changed: Mapping[str, Any]) -> None:
    """Do the work of :func:`tracked_command`."""
    uri = prepare_store()
    with tracked_run(name, run_tags(name)) as tracked:
        page = how_to_open(uri, f"experiments/{tracked.experiment_id}/runs/{tracked.run_id}")
        click.echo(f"Tracking in {masked(uri)}\nSee {page}")
        lines = body(as_command(name, changed), **changed)
    for line in [*lines, f"See {page}"]:
        click.echo(line)


def bad_arguments_of(name: str) -> Callable[[str], None]:
    """Records bad arguments of an entry point as a failed run."""

    def record(message: str) -> None:
        prepare_store()
        with suppress(BadArguments), tracked_run(name, run_tags(name)):
            raise BadArguments(message)

    return record


RESUME_ALL = click.Option(
    ["--resume"],
    type=click.Choice(["auto"]),
    help="auto: go on with the runs that were begun and not finished, instead of training these anew.",
)


class Numbers(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3
    """Whole numbers with commas between them, ``0,1,2``, each once."""

    name = "n,n,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(dict.fromkeys(int(part) for part in value.split(",")))
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers such as 0,1,2.", param, ctx)


class Names(click.ParamType):  # type: ignore[type-arg]
    """Names with commas between them, of a list of known ones; each once.

    Args:
        known: Returns what can be named.
    """

    name = "name,..."

    def __init__(self, known: Callable[[], Sequence[str]]) -> None:
        self.known = known

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = tuple(dict.fromkeys(part.strip() for part in value.split(",")))
        known = self.known()
        for name in names:
            if name not in known:
                close = get_close_matches(name, known, n=1)
                hint = f" Did you mean {close[0]}?" if close else f" There are {', '.join(known)}."
                self.fail(f"{name!r} is not known.{hint}", param, ctx)
        return names


def as_command(name: str, values: Mapping[str, Any]) -> str:
    """The ``mlflow run`` command of an entry point with parameters."""
    return shlex.join(["mlflow", "run", ".", "-e", name, *_as_parameters(values)])


def experiment_command(experiment: Experiment) -> Command:
    """The command that runs an experiment, with an option for every field of its configuration."""

    def repeated(
        command: str, seeds: tuple[int, ...], resume: str | None = None, seed: int | None = None, **changed: Any
    ) -> list[str]:
        if seed is not None:
            raise TP1Error("give either seed or seeds.")

        def command_of(experiment: Experiment, seed: int) -> str:
            return as_command(experiment.name, {**changed, "seed": seed})

        return repeat([experiment], seeds, changed, f"{experiment.name}-seeds", command, command_of, resume)

    def callback(**given: Any) -> None:
        changed = {key: value for key, value in given.items() if value is not None}
        if "seeds" in changed:
            run_tracked(experiment.name, repeated, changed)
        else:
            for line in _train_once(experiment, changed.pop("resume", None), changed):
                click.echo(line)

    section = f" Section {experiment.section} of the report." if experiment.section else ""
    options = [
        *config_options(experiment.config),
        click.Option(
            ["--seeds"], type=Numbers(), help="Repeat with these seeds, such as 0,1,2, in runs under one parent."
        ),
        click.Option(
            ["--resume"],
            metavar="RUN_ID|auto",
            help="Go on with an unfinished run; auto: the newest of the same configuration and seed, else a new one.",
        ),
    ]
    return Command(
        experiment.name,
        callback=callback,
        params=options,
        help=f"{experiment.summary}{section}",
        on_bad_arguments=bad_arguments_of(experiment.name),
    )


def _train_once(experiment: Experiment, resume: str | None, changed: dict[str, Any]) -> list[str]:
    """Train in one run, new or taken up again; return the lines to print."""
    prepare_store()
    try:
        found = find_resumable(experiment, changed, resume)
        folder = found.folder if found else None
        config = folder.plan().config if folder else replace(experiment.config, **changed)
    except TP1Error as error:
        with tracked_run(experiment.name, run_tags(experiment.name)):
            raise error
    if found is not None:
        point_to(found.run_id)
        if folder is None:
            return [f"Run {found.run_id} is finished; there is nothing to go on with."]
    from tp1.run import run  # here, for torch comes with it

    result = run(experiment, config, folder.plan().command if folder else as_command(experiment.name, changed), folder)
    published = published_for(experiment, config.dataset).get("test/accuracy")
    beside = f" (published: {published:g})" if published is not None else ""
    return [
        result.evaluation.report_text(),
        f"Test accuracy {result.evaluation.accuracy:.4f}{beside}; best epoch {result.best.number}, "
        f"validation accuracy {result.best.val_accuracy:.4f}; {result.seconds:.0f} s",
        f"Model {result.model_uri}" if result.model_uri else "The model waits to be sent: tp1 sync",
        f"See {result.page}",
    ]


def study_command(study: Study) -> Command:
    """The command that runs the configurations of a study, with options for what does not differ between them."""
    known = [experiment.configuration for experiment in study.experiments]

    def body(
        command: str,
        seeds: tuple[int, ...] = (0,),
        configurations: tuple[str, ...] = tuple(known),
        resume: str | None = None,
        **changed: Any,
    ) -> list[str]:
        def command_of(experiment: Experiment, seed: int) -> str:
            return as_command(study.name, {**changed, "configurations": experiment.configuration, "seeds": seed})

        chosen = [experiment for experiment in study.experiments if experiment.configuration in configurations]
        return repeat(chosen, seeds, changed, study.name, command, command_of, resume)

    config = study.experiments[0].config
    names = [item.name for item in fields(config) if item.name != "seed" and item.name not in study.varied()]
    options = [
        *config_options(config, names),
        click.Option(["--seeds"], type=Numbers(), help="Run each with these seeds, such as 0,1,2.  [default: 0]"),
        click.Option(
            ["--configurations"], type=Names(lambda: known), help=f"Only these.  [default: {','.join(known)}]"
        ),
        RESUME_ALL,
    ]
    return tracked_command(study.name, f"{study.summary} Section {study.section} of the report.", options, body)


def repeat(
    experiments: Sequence[Experiment],
    seeds: tuple[int, ...],
    changed: dict[str, Any],
    name: str,
    command: str,
    command_of: Callable[[Experiment, int], str],
    resume: str | None = None,
) -> list[str]:
    """Train each experiment with each seed in child runs of the active one; return the lines to print.

    Args:
        resume: ``auto`` goes on with those that were begun and not finished.

    Raises:
        TP1Error: Some failed, after all others were run.
    """
    if resume not in (None, "auto"):
        raise TP1Error(
            f"resume={resume}: several runs are resumed with resume=auto, one with its id and without seeds=."
        )
    name_run(name)
    jobs = training_jobs(experiments, seeds, changed, command_of, resume=resume is not None)
    outcomes = run_jobs(jobs, one_line)
    wait_for_store(STORE_PATIENCE)
    log_note(describe_outcomes(name, outcomes, command))
    if (failed := failures(outcomes)) is not None:
        raise TP1Error(failed)
    return [f"{outcome.name}: {outcome.line}" for outcome in outcomes]


def main(experiment: Experiment | Study) -> None:
    """Run an experiment from ``python -m experiments.NAME``."""
    command = study_command(experiment) if isinstance(experiment, Study) else experiment_command(experiment)
    command(prog_name=f"python -m experiments.{experiment.name.replace('-', '_')}")


def config_options(config: TrainConfig, names: Collection[str] | None = None) -> list[click.Parameter]:
    """An option for each field of the configuration, or for those named, with its default from ``config``."""
    options: list[click.Parameter] = []
    hints = typing.get_type_hints(TrainConfig)
    for item in fields(TrainConfig):
        if names is not None and item.name not in names:
            continue
        default = getattr(config, item.name)
        shown = "" if default is None else f"  [default: {default}]"
        options.append(
            click.Option(
                [f"--{item.name.replace('_', '-')}"],
                type=_click_type(hints[item.name]),
                help=item.metadata["help"] + shown,
            )
        )
    return options


def _click_type(hint: Any) -> Any:
    if isinstance(hint, types.UnionType):
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    return click.Path(path_type=Path) if hint is Path else hint


def _as_parameters(values: Mapping[str, Any]) -> list[str]:
    return [part for name, value in values.items() for part in ("-P", f"{name}={_as_text(value)}")]


def _as_text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
