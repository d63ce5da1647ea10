"""Doing several runs, here or in other processes: finished ones are skipped, and a failed one stops no other."""

import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any, Protocol

from tp1.base.errors import TP1Error
from tp1.base.interrupts import interruption
from tp1.base.names import message_line
from tp1.base.progress import say
from tp1.report.markdown import escape_markdown, indented

# What another process can do: called with whether an earlier one was at it and was lost, it returns a result.
Work = Callable[[bool], Any]
Steps = Generator[Work, Any, str]


@dataclass(frozen=True)
class Job:
    """One run to do.

    Attributes:
        name: The job's name, such as ``cnnv3-c2-s1``.
        minutes: Expected duration in minutes; None if not known.
        finished: The id of a finished run that makes the job unnecessary, or None.
        steps: Begins the job: yields what other processes can do, is sent what came of it, and returns the job's result
            as one line.
    """

    name: str
    minutes: float | None
    finished: str | None
    steps: Callable[[], Steps]


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


class LostError(TP1Error):
    """The process that was at work on a job is gone."""


class Workers(Protocol):
    """Where work is done."""

    @property
    def places(self) -> int:
        """How many jobs can be worked on at the same time, now."""

    @property
    def retries(self) -> int:
        """How often work goes on elsewhere after its process was lost."""

    def submit(self, name: str, work: Work, *, again: bool) -> "Future[Any]":
        """Begin work for the job of this name; not called while all places are taken."""

    def result(self, future: "Future[Any]") -> Any:
        """Return what came of work that has ended.

        Raises:
            LostError: Its process is gone.
            Exception: It failed.
        """


class Here:
    """This process, which does one thing after another."""

    places, retries = 1, 0

    def submit(self, name: str, work: Work, *, again: bool) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(work(again))
        except Exception as error:
            future.set_exception(error)
        return future

    def result(self, future: "Future[Any]") -> Any:
        return future.result()


def only(work: Work) -> Callable[[], Steps]:
    """Return the steps of a job that is all one piece of work, whose result is the job's."""

    def steps() -> Steps:
        return str((yield work))

    return steps


def run_jobs(
    jobs: Sequence[Job], describe_error: Callable[[Exception], str], workers: Workers | None = None
) -> list[Outcome]:
    """Do every job that is not finished, and continue after a failed one.

    The jobs begin in order, as places are free. The expected time is printed before the first, and the remaining time
    before each; the times that earlier jobs took correct it.

    Args:
        describe_error: Returns one line that describes an error.
        workers: Where the work is done; None: here.

    Returns:
        One outcome per job, in the order of the jobs.
    """
    return _List(jobs, describe_error, workers or Here()).do()


@dataclass
class _Begun:
    """A job that is being worked on: its place in the list, where it stands, and when it began."""

    number: int
    job: Job
    steps: Steps
    began: float
    work: Work | None = None
    losses: int = 0


class _List:
    """A list of jobs, and how far it is."""

    def __init__(self, jobs: Sequence[Job], describe_error: Callable[[Exception], str], workers: Workers) -> None:
        self._jobs = jobs
        self._describe = describe_error
        self._workers = workers
        self._to_do = [number for number, job in enumerate(jobs) if job.finished is None]
        self._running: dict[Future[Any], _Begun] = {}
        self._outcomes: dict[int, Outcome] = {}
        self._took: list[float] = []
        self._spent = self._expected = 0.0

    def do(self) -> list[Outcome]:
        finished = len(self._jobs) - len(self._to_do)
        expectation = f"; expected time {self._left(self._to_do)}" if self._to_do else ""
        say(f"{len(self._jobs)} run{'s' * (len(self._jobs) != 1)}, {finished} of them finished already{expectation}.")
        waiting = deque(self._to_do)
        stuck = False
        while waiting or self._running:
            while waiting and len(self._running) < self._workers.places:
                self._begin(waiting.popleft())
            if waiting and not self._running:
                if not stuck:
                    say("There is no place to run on any more: waiting for one. Ctrl-C ends the list.")
                stuck = True
                time.sleep(1.0)
                continue
            stuck = False
            # Not for ever: there may be more places meanwhile.
            for future in wait(self._running, 1.0 if waiting else None, FIRST_COMPLETED).done:
                self._take(future)
        return [self._outcomes.get(number) or _skipped(job) for number, job in enumerate(self._jobs)]

    def _begin(self, number: int) -> None:
        job, place = self._jobs[number], self._to_do.index(number)
        gap = "\n" if isinstance(self._workers, Here) else ""
        left = self._left(self._to_do[place:])
        say(f"{gap}{job.name}: {place + 1} of {len(self._to_do)}; time left {left}")
        one = _Begun(number, job, job.steps(), time.perf_counter())
        self._advance(one, lambda: next(one.steps))

    def _take(self, future: "Future[Any]") -> None:
        """Give a job what came of its work, and let it go on."""
        one = self._running.pop(future)
        try:
            result = self._workers.result(future)
        except LostError as error:
            if one.losses < self._workers.retries and one.work is not None:
                one.losses += 1
                say(f"{one.job.name}: {error} It goes on elsewhere.")
                work = one.work
                self._advance(one, lambda: work)
                return
            thrown: Exception = error
        except Exception as error:
            thrown = error
        else:
            self._advance(one, lambda: one.steps.send(result))
            return
        self._advance(one, lambda: one.steps.throw(thrown))

    def _advance(self, one: _Begun, go_on: Callable[[], Work]) -> None:
        """Go on with a job up to its next piece of work, which is begun, or to its end."""
        try:
            one.work = go_on()
            self._running[self._workers.submit(one.job.name, one.work, again=one.losses > 0)] = one
        except StopIteration as end:
            self._outcomes[one.number] = Outcome(one.job.name, "finished", end.value)
            self._took.append(time.perf_counter() - one.began)
            if one.job.minutes is not None:
                self._spent += self._took[-1]
                self._expected += 60 * one.job.minutes
        except Exception as error:
            one.steps.close()
            if (stop := interruption(error)) is not None:
                raise stop from error
            self._outcomes[one.number] = Outcome(one.job.name, "failed", self._describe(error))
            say(f"{one.job.name} failed: {self._outcomes[one.number].line}")

    def _left(self, numbers: Sequence[int]) -> str:
        rest = [self._jobs[number] for number in numbers]
        pace = self._spent / self._expected if self._expected else 1.0
        typical = sum(self._took) / len(self._took) / 60 if self._took else None
        return _duration(rest, pace, typical, max(min(self._workers.places, len(rest)), 1))


def _skipped(job: Job) -> Outcome:
    return Outcome(job.name, "skipped", f"finished already: run {job.finished}")


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


def _duration(jobs: Sequence[Job], pace: float, typical: float | None, places: int) -> str:
    """Return the expected duration of the jobs as text.

    Args:
        pace: Time that earlier jobs took, divided by the time expected of them.
        typical: Minutes assumed for a job without an expected time; None if not known.
        places: How many are worked on at the same time.
    """
    known = [pace * job.minutes for job in jobs if job.minutes is not None]
    unknown = len(jobs) - len(known)
    if unknown and typical is not None:
        known += [typical] * unknown
        unknown = 0
    if not known:
        return "not known"
    minutes = sum(known) / places
    beside = f", and {unknown} not known" if unknown else ""
    return f"about {minutes / 60:.1f} h{beside}" if minutes >= 90 else f"about {max(minutes, 1):.0f} min{beside}"
