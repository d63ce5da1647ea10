"""Experiments as jobs under one parent run: several seeds, several configurations (report section 1.5)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tp1.base.errors import TP1Error
from tp1.base.progress import say
from tp1.config import TrainConfig
from tp1.data.dataset import load_data
from tp1.experiment import Experiment
from tp1.store.identity import differing, have_digest, sources_of
from tp1.store.prepare import wait_for_store
from tp1.store.reader import RunReader
from tp1.store.runs import TrackedRun
from tp1.sweeps.jobs import Job, LostError, Outcome, Steps, only, run_jobs
from tp1.sweeps.spread import Spread
from tp1.sweeps.workers import open_workers
from tp1.tracking.delivery import send_waiting
from tp1.tracking.lost_runs import end_lost, take_over
from tp1.tracking.resumption import PATIENCE, find_unfinished
from tp1.tracking.run_folders import Plan, run_folder
from tp1.tracking.tool_run import ToolRun

STORE_PATIENCE = (
    600.0  # seconds to wait for an unreachable tracking server, before each of several runs and after the last
)


def training_jobs(
    experiments: Sequence[Experiment],
    seeds: Sequence[int],
    changed: dict[str, Any],
    command_of: Callable[[Experiment, int], str],
    parent: ToolRun,
    *,
    resume: bool = False,
) -> list[Job]:
    """Return one job for each experiment and seed; each trains in its own run, a child of ``parent``.

    Args:
        changed: Parameters that differ from the experiments' defaults.
        command_of: Returns the command that repeats one of the runs.
        resume: Whether a job resumes its newest unfinished run, if there is one, instead of starting a new run.
    """
    reader = RunReader()
    names = dict.fromkeys(experiment.name for experiment in experiments)
    tracked = {name: list(reader.find_runs(name)) for name in names}
    jobs = []
    for experiment in experiments:
        config = experiment.config.changed(**changed)
        earlier = [run for run in tracked[experiment.name] if not differing(config, run)]
        minutes = earlier[0].seconds / 60 if earlier else None if changed else experiment.minutes
        now = _look(experiment, config) if earlier else None
        for seed in seeds:
            one = replace(config, seed=seed)
            work = partial(_train, experiment, one, command_of(experiment, seed), parent, resume)
            done = _finished(experiment, one, earlier, now)
            jobs.append(Job(f"{experiment.label}-s{seed}", minutes, done, only(work)))
    return jobs


def run_all(
    jobs: Sequence[Job], describe_error: Callable[[Exception], str], spread: Spread, parent: ToolRun
) -> list[Outcome]:
    """Do jobs as :func:`~tp1.sweeps.jobs.run_jobs` does; wait for the tracking store before each and after the last.

    Args:
        spread: Where they are done.
        parent: The parent of their runs.

    Raises:
        TP1Error: The store did not answer for :data:`STORE_PATIENCE` after the last job. Before a job, that job fails.
    """

    def patient(job: Job) -> Job:
        def steps() -> Steps:
            wait_for_store(STORE_PATIENCE)
            try:
                return (yield from job.steps())
            except LostError:
                end_lost(parent, job.name)
                raise

        return replace(job, steps=steps)

    to_do = sum(job.finished is None for job in jobs)
    with open_workers(spread, to_do, describe_error, parent.info.run_id) as workers:
        outcomes = run_jobs([patient(job) for job in jobs], describe_error, workers)
    wait_for_store(STORE_PATIENCE)
    return outcomes


@dataclass(frozen=True)
class _Present:
    """What a run of a configuration would be trained on now.

    Attributes:
        weights_digest: Of the weights that it would start from; None where they cannot change, or are drawn anew.
    """

    data_digest: str
    split_digest: str
    weights_digest: str | None


def _look(experiment: Experiment, config: TrainConfig) -> _Present | None:
    """The data and weights that a run would be trained on now; None where they are not here, which is said."""
    try:
        data = load_data(config.dataset, config.data_dir, config.image_size, **config.reading)
        if not have_digest(config.weights) or set(sources_of(config.weights)) == {"imagenet"}:
            return _Present(data.digest, data.split_digest, None)
        from tp1.models.build import build  # here, for torch comes with them
        from tp1.models.weights import find_weights
        from tp1.registry.stored_models import download_weights

        weights = find_weights(config.weights, experiment.networks, download_weights)
        built = build(experiment, data, config.image_size or data.image_shape[0], config.dropout, weights)
        return _Present(data.digest, data.split_digest, built.facts["weights_digest"])
    except TP1Error as error:
        say(f"Note: whether finished runs of {experiment.label} had the present data and weights is not known: {error}")
        return None


def _finished(
    experiment: Experiment, config: TrainConfig, earlier: Sequence[TrackedRun], now: _Present | None
) -> str | None:
    """The id of the newest whole run of this configuration and seed on the present data and weights, or None.

    Args:
        earlier: Finished runs of the same configuration, newest first.
        now: None: whatever they were trained on.
    """
    for run in earlier:
        if run.seed != config.seed or run.configuration != experiment.configuration or run.missing:
            continue
        if now is None or (
            (run.data_digest, run.split_digest) == (now.data_digest, now.split_digest)
            and now.weights_digest in (None, run.params.get("weights_digest"))
        ):
            return run.run_id
    return None


def _train(
    experiment: Experiment, config: TrainConfig, command: str, parent: ToolRun, resume: bool, again: bool
) -> str:
    """Do one run, in whatever process; return its result as one line.

    Args:
        again: Whether a process that was at it was lost: what it has left is gone on with.
    """
    plan = Plan(experiment.name, experiment.configuration, config, command)
    left = take_over(parent, plan.label) if again else None
    if left is not None:
        earlier, folder = left
        if folder is None:
            return f"run {earlier.run_id} was finished when its process was lost"
    else:
        folder = find_unfinished(experiment, config) if resume else None
        if folder is not None and not folder.is_there:
            return f"run {folder.run_id} was finished but for what it had to send"
    from tp1.run import run  # imported late, because it imports torch

    result = run(experiment, config, command, folder, parent=parent)
    if (waiting := run_folder(result.run_id)).is_there:  # what stands for all the runs must not leave it out
        wait_for_store(STORE_PATIENCE)
        send_waiting(waiting, PATIENCE)
    return f"validation {result.best.val_accuracy:.4f}, test {result.evaluation.accuracy:.4f}, {result.seconds:.0f} s"
