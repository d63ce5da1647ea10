"""A sweep: trials of an experiment that search for better parameters, one after another or several at a time.

The tracking store is the one place that knows a sweep. Each trial is a run with the sweep's digest and its number as
tags, so that the same command goes on wherever it is given: trials that are finished or pruned are told to the
proposer and never done again, an unfinished one goes on from its checkpoint if its folder is here, and whatever has no
run yet is proposed as it would have been before (:mod:`tp1.sweeps.proposals`).
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from tp1.base.errors import TP1Error
from tp1.base.progress import say
from tp1.config import HYPERPARAMETERS, TrainConfig
from tp1.data.dataset import ImageData, load_data
from tp1.experiment import Experiment
from tp1.models.build import build
from tp1.models.weights import find_weights
from tp1.preparation import check_batch
from tp1.registry.stored_models import download_weights
from tp1.report.sweeps import ACCURACY, FINISHED, SweepTrials, collect, state_of
from tp1.store.identity import SPELLED, have_digest
from tp1.store.reader import RunReader
from tp1.store.runs import TrackedRun
from tp1.sweeps.jobs import Job, Outcome, Steps
from tp1.sweeps.proposals import Proposal, Proposer, replay
from tp1.sweeps.space import MOST_TRIALS, TRIALS, Space, Value, parse_space
from tp1.sweeps.spread import Spread
from tp1.sweeps.training_jobs import run_all
from tp1.sweeps.trials import Tried, train_trial
from tp1.tracking.ownership import held, is_held, machine
from tp1.tracking.resumption import find_trial
from tp1.tracking.run_folders import Plan, TrialOf, find_folder, state_dir, state_unwritable
from tp1.tracking.tool_run import ToolRun
from tp1.training.devices import choose_device, choose_precision


@dataclass(frozen=True)
class Search:
    """What a sweep searches, and how.

    Attributes:
        fixed: Parameters that differ from the experiment's in all trials.
        trials: Number of trials.
        sampler, pruner: One of SAMPLERS and PRUNERS in :mod:`tp1.sweeps.space`.
        base: The configuration at one corner of the space.
        digest: Identifies what is searched, on what data and how, but for the number of trials (16 hex digits).
        command: The command that goes on with the sweep.
    """

    experiment: Experiment
    fixed: Mapping[str, Any]
    space: Space
    trials: int
    sampler: str
    pruner: str
    base: TrainConfig
    digest: str
    command: str


def make_search(
    experiment: Experiment,
    fixed: Mapping[str, Any],
    space: str,
    trials: int | None,
    sampler: str,
    pruner: str,
    command: str,
) -> Search:
    """Check everything that can be checked before the first trial; read the data, and build the networks once.

    Args:
        space: As :func:`~tp1.sweeps.space.parse_space` reads it.
        trials: None: :data:`TRIALS`, or all points of a smaller space or of a grid.

    Raises:
        TP1Error: Something is wrong; one line names it.
    """
    searched, corners = parse_space(space, experiment, fixed)
    count = _count(searched, trials, sampler)
    base = corners[0]
    choose_precision(base.precision, choose_device(base.device))
    data = load_data(base.dataset, base.data_dir, base.image_size, **base.reading)
    for size in sorted({corner.batch_size for corner in corners}):
        check_batch(size, experiment.config.batch_size, len(data.train))
    weights = _try_networks(experiment, corners, data)
    content = {
        "experiment": experiment.name,
        "space": str(searched),
        "fixed": _fixed(base, searched),
        "image_size": base.image_size or data.image_shape[0],
        "weights": weights,
        "data": [data.digest, data.split_digest],
        "seed": base.seed,
        "sampler": sampler,
        "pruner": pruner,
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    return Search(experiment, fixed, searched, count, sampler, pruner, base, digest, command)


def _count(space: Space, trials: int | None, sampler: str) -> int:
    """The number of trials."""
    if sampler == "grid" and space.size is None:
        endless = next(one for one in space.dimensions if one.points is None)
        raise TP1Error(f"sampler=grid tries every value: list those of {endless.name}, as in {endless.name}=a|b|c.")
    if trials is None:
        trials = TRIALS if sampler != "grid" or space.size is None else space.size
        trials = min(trials, space.size or trials)
    if space.size is not None and trials > space.size:
        raise TP1Error(f"trials={trials}: the space has {space.size} points only; give at most so many trials.")
    if trials > MOST_TRIALS:
        raise TP1Error(f"the grid has {trials} points: give trials=, at most {MOST_TRIALS}, or fewer values.")
    return trials


def _try_networks(experiment: Experiment, corners: list[TrainConfig], data: ImageData) -> list[str]:
    """Build the networks that trials can have; return what identifies the weights that they start from."""
    found = []
    for weights, size in dict.fromkeys((corner.weights, corner.image_size) for corner in corners):
        given = find_weights(weights, experiment.networks, download_weights)
        built = build(experiment, data, size or data.image_shape[0], 0.0, given)
        found.append(built.facts["weights_digest"] if have_digest(weights) else weights)
    return sorted(set(found))


def _fixed(base: TrainConfig, space: Space) -> dict[str, Any]:
    """The hyperparameters that are the same in all trials, where they are not the default of any configuration.

    So a parameter that a later version adds changes no sweep.
    """
    defaults = TrainConfig().flat()
    return {
        name: value
        for name, value in base.flat().items()
        if name in HYPERPARAMETERS and name not in (*SPELLED, *space.names) and value != defaults[name]
    }


@dataclass(frozen=True)
class Found:
    """What a sweep has found.

    Attributes:
        trials: Of the tracking store.
        importances: Of the searched parameters, largest first; empty if too few trials are finished.
    """

    outcomes: list[Outcome]
    trials: SweepTrials
    importances: dict[str, float]


def run_search(
    search: Search,
    parent: ToolRun,
    command_of: Callable[[Mapping[str, Any]], str],
    describe_error: Callable[[Exception], str],
    spread: Spread,
) -> Found:
    """Do the trials that are not done yet, as children of ``parent``, which adopts the earlier ones.

    Args:
        command_of: Returns the command that trains with these parameters, in a run of its own.
        describe_error: Returns one line that describes the error of a failed trial, which stops no other.
        spread: Where the trials are done.

    Raises:
        TP1Error: Another process is at work on the sweep, or a result could not be sent to the tracking store.
    """
    with held(search.digest, "sweep"), _journal(search.digest) as journal:
        sweep = _Sweep(search, parent, command_of, journal if spread.is_spread else None)
        outcomes = run_all(sweep.jobs(), describe_error, spread, parent)
        return Found(outcomes, sweep.whole(), sweep.importances())


@contextmanager
def _journal(digest: str) -> Iterator[Path]:
    """Yield a file for the processes that work on a sweep; there is none before and after."""
    path = state_dir() / "sweeps" / f"{digest}.journal"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # of a process that was killed
    except OSError as error:
        raise state_unwritable(error) from error
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


class _Sweep:
    """A sweep that is being worked on."""

    def __init__(
        self,
        search: Search,
        parent: ToolRun,
        command_of: Callable[[Mapping[str, Any]], str],
        journal: Path | None,
    ) -> None:
        self.search = search
        self._parent = parent
        self._command_of = command_of
        self._reader = RunReader()
        runs = self._reader.find_trials(search.digest)
        for run in runs:
            _check_alone(run)
        for run in runs:
            parent.adopt(run.run_id)
        self._ended = self._collect(runs).ended
        self._tried: dict[tuple[Value, ...], Tried] = {}
        base = search.base
        self._proposer = Proposer(
            search.digest, search.space, search.sampler, search.pruner, base.seed, base.epochs, journal
        )

    def jobs(self) -> list[Job]:
        """One job for each trial."""
        label = self.search.experiment.label
        seconds = [run.seconds for run in self._ended.values()]
        minutes = fmean(seconds) / 60 if seconds else None
        ids = {number: run.run_id for number, run in self._ended.items()}
        return [
            Job(f"{label}-t{number}", minutes, ids.get(number), partial(self._steps, number))
            for number in range(self.search.trials)
        ]

    def whole(self) -> SweepTrials:
        """All trials, as the store has them; what waits to be sent to it is sent first."""
        trials = self._collect(self._reader.find_trials(self.search.digest))
        for number in range(self.search.trials):
            if number not in trials.ended:
                find_trial(self.search.digest, number)
        return self._collect(self._reader.find_trials(self.search.digest))

    def importances(self) -> dict[str, float]:
        """The importance of each parameter, from the finished trials."""
        self._advance(max([self.search.trials, *(number + 1 for number in self._ended)]))
        return self._proposer.importances()

    def _collect(self, runs: list[TrackedRun]) -> SweepTrials:
        found = collect(runs)
        return found[0] if found else SweepTrials(self.search.digest, ())

    def _steps(self, number: int) -> Steps:
        """Propose one trial, have it trained, and return its outcome as one line."""
        self._advance(number)
        search = self.search
        folder = find_trial(search.digest, number)
        if folder is not None and not folder.is_there:
            self._ended = self._collect(self._reader.find_trials(search.digest)).ended
            self._advance(number + 1)
            return f"run {folder.run_id} was over but for what it had to send"
        plan = folder.plan() if folder is not None else None
        values = None if plan is None else {name: plan.config.flat()[name] for name in search.space.names}
        proposal = self._proposer.propose(values)
        if plan is None and (earlier := self._tried.get(tuple(proposal.values.values()))) is not None:
            replay(proposal, earlier.accuracies, earlier.finished)
            return f"the same parameters as trial {earlier.number}: not trained again"
        if plan is None:
            given = {**search.fixed, **proposal.values}
            config = search.experiment.config.changed(**given)
            place = TrialOf(search.digest, number, search.command)
            plan = Plan(search.experiment.name, "", config, self._command_of(given), place)
        say(f"Trial {number}: {described(proposal.values)}")
        try:
            tried: Tried = yield partial(
                train_trial, search.experiment, plan, proposal.judge, search.pruner, folder, self._parent
            )
        except BaseException:
            proposal.fail()
            raise
        if tried.finished is None:
            proposal.prune()
        else:
            proposal.finish(tried.finished)
        self._remember(tried, proposal)
        return tried.line

    def _remember(self, tried: Tried, proposal: Proposal) -> None:
        self._tried.setdefault(tuple(proposal.values.values()), tried)

    def _advance(self, number: int) -> None:
        """Tell the proposer the trials before ``number`` that it has not seen; those without a result failed."""
        due = [one for one in range(self._proposer.number, number) if one in self._ended]
        histories = self._reader.read_histories([self._ended[one].run_id for one in due], ["val/accuracy"])
        while (one := self._proposer.number) < number:
            if (run := self._ended.get(one)) is None:
                self._proposer.skip()
                continue
            best = run.metrics[ACCURACY] if state_of(run) == FINISHED else None
            tried = Tried(one, histories[run.run_id]["val/accuracy"], best)
            proposal = self._proposer.propose(self._values(run))
            replay(proposal, tried.accuracies, tried.finished)
            self._remember(tried, proposal)

    def _values(self, run: TrackedRun) -> dict[str, Value]:
        try:
            return {one.name: one.read(run.params[one.name]) for one in self.search.space.dimensions}
        except (KeyError, ValueError) as error:
            raise TP1Error(
                f"run {run.run_id} says it is trial {run.trial} of this sweep, but its parameters are none of the "
                f"space ({error}): delete it in the tracking UI."
            ) from error


def described(values: Mapping[str, Value]) -> str:
    """Parameters in one line, numbers with four digits."""
    return ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in values.items()
    )


def _check_alone(run: TrackedRun) -> None:
    if run.status not in ("RUNNING", "SCHEDULED") or run.pruned is not None:
        return
    if is_held(run.run_id):
        raise TP1Error(f"another process is at work on this sweep, on run {run.run_id}: wait for it, or end it.")
    if run.machine not in ("", machine()) and find_folder(run.run_id) is None:
        raise TP1Error(
            f"run {run.run_id} of this sweep is going on on {run.machine}: wait for it. If its process is gone, "
            f"close it (tp1 runs --close {run.run_id}) and repeat this command."
        )
