"""Experiments as jobs under one parent run: several seeds, several configurations (report section 1.5)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tp1.config import TrainConfig, same_configuration
from tp1.experiment import Experiment
from tp1.store.prepare import wait_for_store
from tp1.store.reader import RunReader
from tp1.store.runs import TrackedRun
from tp1.sweeps.jobs import Job
from tp1.tracking.resumption import find_unfinished
from tp1.tracking.tool_run import ToolRun

STORE_PATIENCE = 600.0  # seconds that each of several runs waits for an unreachable tracking server


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
        config = replace(experiment.config, **changed)
        earlier = [run for run in tracked[experiment.name] if same_configuration(config, run.params)]
        minutes = earlier[0].seconds / 60 if earlier else None if changed else experiment.minutes
        for seed in seeds:
            one = replace(config, seed=seed)
            work = _work(experiment, one, command_of(experiment, seed), parent, resume=resume)
            jobs.append(Job(f"{experiment.label}-s{seed}", minutes, _finished(experiment, one, earlier), work))
    return jobs


def _finished(experiment: Experiment, config: TrainConfig, earlier: Sequence[TrackedRun]) -> str | None:
    """Return the id of the newest complete run of this configuration and seed, or None.

    Args:
        earlier: Finished runs of the same configuration, newest first.
    """
    whole = (
        run.run_id
        for run in earlier
        if run.seed == config.seed and run.configuration == experiment.configuration and not run.missing
    )
    return next(whole, None)


def _work(
    experiment: Experiment, config: TrainConfig, command: str, parent: ToolRun, *, resume: bool
) -> Callable[[], str]:
    def work() -> str:
        wait_for_store(STORE_PATIENCE)
        folder = find_unfinished(experiment, config) if resume else None
        if folder is not None and not folder.is_there:
            return f"run {folder.run_id} was finished but for what it had to send"
        from tp1.run import run  # imported late, because it imports torch

        result = run(experiment, config, command, folder, parent=parent)
        return (
            f"validation {result.best.val_accuracy:.4f}, test {result.evaluation.accuracy:.4f}, {result.seconds:.0f} s"
        )

    return work
