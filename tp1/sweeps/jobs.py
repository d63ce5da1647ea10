"""Doing several runs one after another: finished ones are skipped, and a failed one does not stop the others."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tp1.base.interrupts import interruption
from tp1.base.names import message_line
from tp1.base.progress import say
from tp1.report.page import escape_markdown, indented


@dataclass(frozen=True)
class Job:
    """One run to do.

    Attributes:
        name: The job's name, such as ``cnnv3-c2-s1``.
        minutes: Expected duration in minutes; None if not known.
        finished: The id of a finished run that makes the job unnecessary, or None.
        work: Does the job and returns its result as one line.
    """

    name: str
    minutes: float | None
    finished: str | None
    work: Callable[[], str]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job.

    Attributes:
        status: ``finished``, ``skipped`` or ``failed``.
        line: The result, the id of the run that was already finished, or the error.
    """

    name: str
    status: str
    line: str


def run_jobs(jobs: Sequence[Job], describe_error: Callable[[Exception], str]) -> list[Outcome]:
    """Do every job that is not finished, in order, and continue after a failed one.

    The expected time is printed before the first job, and the remaining time before each; the times that earlier
    jobs took correct it.

    Args:
        describe_error: Returns one line that describes an error.

    Returns:
        One outcome per job, in the order of the jobs.
    """
    finished = {job.name: job.finished for job in jobs if job.finished is not None}
    to_do = [job for job in jobs if job.name not in finished]
    expectation = f"; expected time {_duration(to_do, 1.0, None)}" if to_do else ""
    say(f"{len(jobs)} run{'s' * (len(jobs) != 1)}, {len(finished)} of them finished already{expectation}.")
    outcomes = []
    took: list[float] = []
    spent = expected = 0.0
    for job in jobs:
        if job.name in finished:
            outcomes.append(Outcome(job.name, "skipped", f"finished already: run {finished[job.name]}"))
            continue
        rest = to_do[to_do.index(job) :]
        pace = spent / expected if expected else 1.0
        typical = sum(took) / len(took) / 60 if took else None
        say(f"\n{job.name}: {len(to_do) - len(rest) + 1} of {len(to_do)}; time left {_duration(rest, pace, typical)}")
        began = time.perf_counter()
        try:
            outcomes.append(Outcome(job.name, "finished", job.work()))
        except Exception as error:
            if (stop := interruption(error)) is not None:
                raise stop from error
            outcomes.append(Outcome(job.name, "failed", describe_error(error)))
            say(f"{job.name} failed: {outcomes[-1].line}")
        else:
            took.append(time.perf_counter() - began)
            if job.minutes is not None:
                spent += took[-1]
                expected += 60 * job.minutes
    return outcomes


def failures(outcomes: Sequence[Outcome]) -> str | None:
    """Return one line that names the failed runs and how to repeat them; None if none failed."""
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if not failed:
        return None
    named = "; ".join(f"{outcome.name} ({outcome.line})" for outcome in failed)
    return f"{len(failed)} of {len(outcomes)} runs failed: {named}. The same command runs these again, and only these."


def describe_outcomes(name: str, outcomes: Sequence[Outcome], command: str) -> str:
    """Return the outcomes of the child runs of a parent run as Markdown, for its note."""
    rows = [
        f"| {outcome.name} | {outcome.status} | {escape_markdown(message_line(outcome.line))} |" for outcome in outcomes
    ]
    return "\n".join(
        [f"**{name}**", "", "| run | | |", "|---|---|---|", *rows, "", "Repeat it:", "", indented(command), ""]
    )


def _duration(jobs: Sequence[Job], pace: float, typical: float | None) -> str:
    """Return the expected duration of the jobs as text.

    Args:
        pace: Time that earlier jobs took, divided by the time expected of them.
        typical: Minutes assumed for a job without an expected time; None if not known.
    """
    known = [pace * job.minutes for job in jobs if job.minutes is not None]
    unknown = len(jobs) - len(known)
    if unknown and typical is not None:
        known += [typical] * unknown
        unknown = 0
    if not known:
        return "not known"
    minutes = sum(known)
    beside = f", and {unknown} not known" if unknown else ""
    return f"about {minutes / 60:.1f} h{beside}" if minutes >= 90 else f"about {max(minutes, 1):.0f} min{beside}"
