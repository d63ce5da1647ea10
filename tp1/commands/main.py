"""The whole report: every experiment in order, skipping finished ones; then the comparison and the report.

Repeat: mlflow run .
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from tp1.base.errors import TP1Error
from tp1.base.folders import check_writable
from tp1.commands.command import Command, one_line
from tp1.commands.compare import compare
from tp1.commands.eda import look_at
from tp1.commands.parameters import SPREAD_OPTIONS, Names, Numbers, as_command
from tp1.commands.report import OUTPUT, TO, report, sections_of
from tp1.commands.tool import tool_command
from tp1.commands.training import RESUME_ALL
from tp1.experiment import Experiment, Study, experiments_of
from tp1.store.reader import RunReader
from tp1.sweeps.jobs import Job, describe_outcomes, failures, only
from tp1.sweeps.parents import log_results
from tp1.sweeps.spread import Spread
from tp1.sweeps.training_jobs import run_all, training_jobs
from tp1.tracking.tool_run import ToolRun, tool_run


def main_command(catalog: Sequence[Experiment | Study]) -> Command:
    """Return the command ``main``, which ``mlflow run .`` runs."""
    known = dict.fromkeys("eda" if isinstance(entry, tuple) else entry.name for entry in sections_of(catalog))
    return tool_command(
        "main",
        "Run the whole report in order, skipping what is finished; then compare, and rebuild the report.",
        [
            click.Option(
                ["--only"], type=Names(list(known)), help="Only these experiments.  [default: all of the report]"
            ),
            click.Option(
                ["--seeds"], type=Numbers(), help="Each experiment with these seeds, such as 0,1.  [default: 0]"
            ),
            TO,
            RESUME_ALL,
            *SPREAD_OPTIONS,
        ],
        partial(run_report, catalog),
    )


def run_report(
    catalog: Sequence[Experiment | Study],
    run: ToolRun,
    only: tuple[str, ...] | None = None,
    seeds: tuple[int, ...] = (0,),
    to: Path = OUTPUT,
    resume: str | None = None,
    workers: int | None = None,
    ray: str | None = None,
) -> list[str]:
    """Run what is not finished as children of ``run``, compare, rebuild the report; return the lines to print.

    Raises:
        TP1Error: ``to`` cannot be written (said before anything runs), a run failed (the others, the comparison and
            the report are done first), or one of those two.
    """
    check_writable(to)
    spread = Spread(workers, ray)
    sections = sections_of(catalog)
    jobs: list[Job] = []
    experiments: list[Experiment] = []
    for entry in sections:
        if isinstance(entry, tuple):
            jobs += [_look_job(entry[1], run)] if only is None or "eda" in only else []
        elif entry.section if only is None else entry.name in only:
            command_of = partial(_command_of, entry.name)
            jobs += training_jobs(experiments_of(entry), seeds, {}, command_of, run, resume=resume is not None)
            experiments += experiments_of(entry)
    outcomes = run_all(jobs, one_line, spread, run)
    failed = failures(outcomes)
    done = training_jobs(experiments, seeds, {}, partial(_command_of, "main"), run)
    log_results(run, [job.finished for job in done], experiments)
    lines: list[str] = []
    errors: list[TP1Error] = []
    try:
        for part in (partial(compare, catalog, run), partial(report, catalog, run, to=to)):
            try:
                lines += part()
            except TP1Error as error:  # of runs that were left out, both say so, and the report is written all the same
                errors.append(error)
    finally:  # last, since the comparison and the report set the note too
        run.log_note(describe_outcomes("main", outcomes, run.command))
    said = dict.fromkeys([*([] if failed is None else [failed]), *map(str, errors)])
    if said:
        raise TP1Error(" ".join(said)) from next(iter(errors), None)
    return [*(f"{outcome.name}: {outcome.line}" for outcome in outcomes), *lines]


def _command_of(name: str, experiment: Experiment, seed: int) -> str:
    if experiment.configuration:
        return as_command(name, {"configurations": experiment.configuration, "seeds": seed})
    return as_command(name, {"seed": seed} if seed else {})


def _look_job(dataset: str, parent: ToolRun) -> Job:
    return Job(f"eda-{dataset}", 1, RunReader().find_looks().get(dataset), only(partial(_look, dataset, parent)))


def _look(dataset: str, parent: ToolRun, again: bool) -> str:
    with tool_run("eda", as_command("eda", {"dataset": dataset}), parent=parent) as run:
        look_at(run, dataset)
    return "done"
