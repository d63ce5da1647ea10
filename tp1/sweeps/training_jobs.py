"""Experiments as jobs under one parent run: several seeds, several configurations (report section 1.5)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tp1.config import TrainConfig, same_configuration
from tp1.experiment import Experiment
from tp1.store.prepare import wait_for_store
from tp1.store.runs import RunReader, TrainedRun
from tp1.sweeps.jobs import Job
from tp1.tracking.resumption import find_unfinished

STORE_PATIENCE = 600.0  # seconds that the next of several runs waits for a tracking server that is away


def training_jobs(
    experiments: Sequence[Experiment],
    seeds: Sequence[int],
    changed: dict[str, Any],
    command: Callable[[Experiment, int], str],
    *,
    resume: bool = False,
) -> list[Job]:
    """One job for each experiment and seed; each trains in a run of its own, a child of the active one.

    Args:
        changed: Parameters that differ from the experiments' defaults.
        command: What repeats one of them, for its record.
        resume: Go on with the newest unfinished run of a job instead of training anew, where there is one.
    """
    reader = RunReader()
    names = dict.fromkeys(experiment.name for experiment in experiments)
    tracked = {name: list(reader.find_runs(name)) for name in names}
    jobs = []
    for experiment in experiments:
        config = replace(experiment.config, **changed)
        earlier = [run for run in tracked[experiment.name] if same_configuration(config, run.params)]
        minutes = earlier[0].seconds / 60 if earlier else None if changed else experiment.minutes
        jobs += [
            _job(experiment, replace(config, seed=seed), minutes, earlier, command(experiment, seed), resume=resume)
            for seed in seeds
        ]
    return jobs


def _job(
    experiment: Experiment,
    config: TrainConfig,
    minutes: float | None,
    earlier: Sequence[TrainedRun],
    command: str,
    *,
    resume: bool,
) -> Job:
    """The job of one seed.

    Args:
        earlier: Finished runs of the same configuration, newest first.
    """

    def work() -> str:
        wait_for_store(STORE_PATIENCE)
        found = find_unfinished(experiment, config) if resume else None
        if found is not None and found.folder is None:
            return f"run {found.run_id} was finished but for what it had to send"
        from tp1.run import run  # here, for torch comes with it

        result = run(experiment, config, command, found.folder if found else None)
        return (
            f"validation {result.best.val_accuracy:.4f}, test {result.evaluation.accuracy:.4f}, {result.seconds:.0f} s"
        )

    whole = (
        run.run_id
        for run in earlier
        if run.seed == config.seed and run.configuration == experiment.configuration and not run.missing
    )
    return Job(name=f"{experiment.label}-s{config.seed}", minutes=minutes, finished=next(whole, None), work=work)
