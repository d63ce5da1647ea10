"""The whole report: every experiment in order, what is finished skipped; then the comparison and the report.

Repeat: mlflow run .
"""

from functools import partial
from pathlib import Path

import click

from experiments.compare import compare
from experiments.eda import look
from experiments.report import OUTPUT, TO, entries, report
from tp1.base.errors import TP1Error
from tp1.commands.cli import RESUME_ALL, Names, Numbers, as_command, one_line, tracked_command
from tp1.experiment import Experiment, experiments_of
from tp1.report.notes import describe_outcomes
from tp1.store.runs import RunReader
from tp1.sweeps.jobs import Job, failures, run_jobs
from tp1.sweeps.training_jobs import training_jobs
from tp1.tracking.tool_run import log_note, run_tags, tracked_run


def run_report(
    command: str,
    only: tuple[str, ...] | None = None,
    seeds: tuple[int, ...] = (0,),
    to: Path = OUTPUT,
    resume: str | None = None,
) -> list[str]:
    """Run what is not finished, then compare and rebuild the report, all under the active run."""
    jobs: list[Job] = []
    for entry in entries():
        if isinstance(entry, tuple):
            jobs += [_look_job(entry[1])] if only is None or "eda" in only else []
        elif only is None or entry.name in only:
            command_of = partial(_command_of, entry.name)
            jobs += training_jobs(experiments_of(entry), seeds, {}, command_of, resume=resume is not None)
    outcomes = run_jobs(jobs, one_line)
    log_note(describe_outcomes("main", outcomes, command))
    failed = failures(outcomes)
    try:
        lines = [*compare(command), *report(command, to=to)]
    except TP1Error as error:
        raise TP1Error(f"{failed or ''} {error}".strip()) from error
    if failed is not None:
        raise TP1Error(failed)
    return [*(f"{outcome.name}: {outcome.line}" for outcome in outcomes), *lines]


def _command_of(name: str, experiment: Experiment, seed: int) -> str:
    if experiment.configuration:
        return as_command(name, {"configurations": experiment.configuration, "seeds": seed})
    return as_command(name, {"seed": seed} if seed else {})


def _look_job(dataset: str) -> Job:
    def work() -> str:
        with tracked_run("eda", run_tags("eda"), nested=True):
            look(as_command("eda", {"dataset": dataset}), dataset)
        return "done"

    return Job(f"eda-{dataset}", 1, RunReader().find_looks().get(dataset), work)


def _known() -> list[str]:
    return list(dict.fromkeys("eda" if isinstance(entry, tuple) else entry.name for entry in entries()))


command = tracked_command(
    "main",
    "Run the whole report in order, skipping what is finished; then compare, and rebuild the report.",
    [
        click.Option(["--only"], type=Names(_known), help="Only these experiments.  [default: all]"),
        click.Option(["--seeds"], type=Numbers(), help="Each experiment with these seeds, such as 0,1.  [default: 0]"),
        TO,
        RESUME_ALL,
    ],
    run_report,
)

if __name__ == "__main__":
    command()
