"""Commands that train: one for each experiment and each study."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from tp1.base.errors import TP1Error
from tp1.base.processes import process_count
from tp1.commands.command import Command, one_line, take_launched_run
from tp1.commands.missing_figures import draw_missing
from tp1.commands.parameters import SPREAD_OPTIONS, Names, Numbers, as_command, config_options, given_values
from tp1.commands.tool import bad_arguments_of, run_tool, tool_command
from tp1.config import PARAMETERS
from tp1.experiment import Experiment, Study
from tp1.store.prepare import prepare_store
from tp1.sweeps.jobs import describe_outcomes, failures
from tp1.sweeps.parents import log_results
from tp1.sweeps.spread import Spread
from tp1.sweeps.training_jobs import run_all, training_jobs
from tp1.tracking.resumption import find_resumable, resumed_config
from tp1.tracking.tool_run import ToolRun, tool_run
from tp1.tracking.training_run import point_to

if TYPE_CHECKING:  # it imports torch
    from tp1.training.ranks import Ranks

RESUME_ALL = click.Option(
    ["--resume"],
    type=click.Choice(["auto"]),
    help="auto: go on with the runs that were begun and not finished, instead of training these anew.",
)


def training_command(entry: Experiment | Study) -> Command:
    """Return the command of an entry of the catalog."""
    return study_command(entry) if isinstance(entry, Study) else experiment_command(entry)


def experiment_command(experiment: Experiment) -> Command:
    """Return the command that runs an experiment, with an option for every field of its configuration."""

    def repeated(
        run: ToolRun,
        seeds: tuple[int, ...] = (),
        resume: str | None = None,
        seed: int | None = None,
        workers: int | None = None,
        ray: str | None = None,
        **changed: Any,
    ) -> list[str]:
        if not seeds:
            raise TP1Error("workers and ray are for several runs: give seeds, such as seeds=0,1,2, or leave them out.")
        if seed is not None:
            raise TP1Error("give either seed or seeds.")
        spread = Spread(workers, ray)

        def command_of(experiment: Experiment, seed: int) -> str:
            return as_command(experiment.name, {**changed, "seed": seed})

        return repeat(run, f"{experiment.name}-seeds", [experiment], seeds, changed, command_of, spread, resume)

    def callback(**options: Any) -> None:
        changed = given_values(options)
        if changed.keys() & {"seeds", "workers", "ray"}:
            run_tool(experiment.name, repeated, changed)
        elif process_count() > 1:
            _train_together(experiment, changed)
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
        *SPREAD_OPTIONS,
    ]
    return Command(
        experiment.name,
        callback=callback,
        params=options,
        help=f"{experiment.summary}{section}",
        tracked=True,
        on_bad_arguments=bad_arguments_of(experiment.name),
    )


def _train_together(experiment: Experiment, changed: dict[str, Any]) -> None:
    """Train in one run with the other processes that ``torchrun`` has started; the first one leads and tracks it."""
    from tp1.run import follow  # imported late, because they import torch
    from tp1.training.ranks import joined

    with joined() as ranks:
        if not ranks.leads:
            follow(experiment, ranks)
            return
        for line in _train_once(experiment, changed.pop("resume", None), changed, ranks=ranks):
            click.echo(line)


def _train_once(
    experiment: Experiment, resume: str | None, changed: dict[str, Any], ranks: "Ranks | None" = None
) -> list[str]:
    """Train in one run, new or resumed; return the lines to print.

    Args:
        ranks: The processes that compute it together, of which this is the first; None for this one alone.
    """
    launched = take_launched_run()
    prepare_store()
    try:
        folder = find_resumable(experiment, changed, resume)
        is_finished = folder is not None and not folder.is_there
        plan = folder.plan() if folder is not None and not is_finished else None
        config = resumed_config(plan.config, changed) if plan else experiment.config.changed(**changed)
    except TP1Error as error:
        with tool_run(experiment.name, launched=launched):
            raise error
    if folder is not None and launched is not None:
        point_to(launched, folder.run_id)
        launched = None
    if folder is not None and is_finished:
        if ranks is not None:
            ranks.sent(lambda: False)  # there is nothing to follow
        drawn = draw_missing(folder.run_id)
        lines = [f"Run {folder.run_id} is finished; there is nothing to go on with."]
        return [*lines, f"It lacked {', '.join(drawn)}: drawn now."] if drawn else lines
    from tp1.run import run  # imported late, because it imports torch
    from tp1.training.ranks import ALONE

    command = plan.command if plan else as_command(experiment.name, changed)
    result = run(experiment, config, command, folder, launched=launched, ranks=ranks or ALONE)
    published = experiment.published_on(config.dataset).get("test/accuracy")
    beside = f" (published: {published:g})" if published is not None else ""
    return [
        result.evaluation.brief_report(),
        f"Test accuracy {result.evaluation.accuracy:.4f}{beside}; best epoch {result.best.number}, "
        f"validation accuracy {result.best.val_accuracy:.4f}; {result.seconds:.0f} s",
        f"Model {result.model_uri}" if result.model_uri else "The model waits to be sent: tp1 sync",
    ]


def study_command(study: Study) -> Command:
    """Return the command that runs a study, with options for the parameters that its configurations share."""
    known = [experiment.configuration for experiment in study.experiments]

    def body(
        run: ToolRun,
        seeds: tuple[int, ...] = (0,),
        configurations: tuple[str, ...] = tuple(known),
        resume: str | None = None,
        workers: int | None = None,
        ray: str | None = None,
        **changed: Any,
    ) -> list[str]:
        def command_of(experiment: Experiment, seed: int) -> str:
            return as_command(study.name, {**changed, "configurations": experiment.configuration, "seeds": seed})

        chosen = [experiment for experiment in study.experiments if experiment.configuration in configurations]
        return repeat(run, study.name, chosen, seeds, changed, command_of, Spread(workers, ray), resume)

    config = study.experiments[0].config
    names = [name for name in PARAMETERS if name != "seed" and name not in study.varied()]
    options = [
        *config_options(config, names),
        click.Option(["--seeds"], type=Numbers(), help="Run each with these seeds, such as 0,1,2.  [default: 0]"),
        click.Option(["--configurations"], type=Names(known), help=f"Only these.  [default: {','.join(known)}]"),
        RESUME_ALL,
        *SPREAD_OPTIONS,
    ]
    return tool_command(study.name, f"{study.summary} Section {study.section} of the report.", options, body)


def repeat(
    run: ToolRun,
    name: str,
    experiments: Sequence[Experiment],
    seeds: tuple[int, ...],
    changed: dict[str, Any],
    command_of: Callable[[Experiment, int], str],
    spread: Spread,
    resume: str | None = None,
) -> list[str]:
    """Train each experiment with each seed in child runs of ``run``; return the lines to print.

    Args:
        name: The new name of ``run``.
        changed: Parameters that differ from the experiments' defaults.
        command_of: Returns the command that repeats one of the child runs.
        spread: Where they are done.
        resume: ``auto`` to resume unfinished runs instead of starting new ones; None not to.

    Raises:
        TP1Error: ``resume`` has another value, or some runs failed, after all others were done.
    """
    if resume not in (None, "auto"):
        raise TP1Error(
            f"resume={resume}: several runs are resumed with resume=auto, one with its id and without seeds=."
        )
    run.rename(name)
    jobs = training_jobs(experiments, seeds, changed, command_of, run, resume=resume is not None)
    outcomes = run_all(jobs, one_line, spread, run)
    run.log_note(describe_outcomes(name, outcomes, run.command))
    # What would be skipped now is what is finished, whoever ran it.
    done = training_jobs(experiments, seeds, changed, command_of, run)
    log_results(run, [job.finished for job in done], experiments)
    if (failed := failures(outcomes)) is not None:
        raise TP1Error(failed)
    return [f"{outcome.name}: {outcome.line}" for outcome in outcomes]
