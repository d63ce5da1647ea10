"""Experiments as jobs under one parent run: several seeds, several configurations (report section 1.5)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tp1.config import same_configuration
from tp1.experiment import Experiment
from tp1.jobs import Job
from tp1.runs import RunReader
from tp1.tracking import run_tags, tracked_run


def training_jobs(
    experiments: Sequence[Experiment],
    seeds: Sequence[int],
    changed: dict[str, Any],
    command: Callable[[Experiment, int], str],
) -> list[Job]:
    """One job for each experiment and seed; each trains in a run of its own, a child of the active one.

    Args:
        changed: Parameters that differ from the experiments' defaults.
        command: What repeats one of them, for its record.
    """
    return [_job(experiment, seed, changed, command(experiment, seed)) for experiment in experiments for seed in seeds]


def _job(experiment: Experiment, seed: int, changed: dict[str, Any], command: str) -> Job:
    config = replace(experiment.config, **changed, seed=seed)
    reader = RunReader()

    def work() -> str:
        from tp1.run import run  # here, for torch comes with it

        with tracked_run(experiment.label, run_tags(experiment.name, experiment.configuration), nested=True):
            result = run(experiment, config, command)
        return (
            f"validation {result.best.val_accuracy:.4f}, test {result.evaluation.accuracy:.4f}, {result.seconds:.0f} s"
        )

    return Job(
        name=f"{experiment.label}-s{seed}",
        minutes=_minutes(reader, experiment, changed),
        find_finished=lambda: reader.find_finished(experiment, config),
        work=work,
    )


def _minutes(reader: RunReader, experiment: Experiment, changed: dict[str, Any]) -> float | None:
    """How long the newest run of this configuration took, else what the experiment says of its defaults."""
    config = replace(experiment.config, **changed)
    for earlier in reader.find_runs(experiment.name):
        if same_configuration(config, earlier.params):
            return earlier.seconds / 60
    return None if changed else experiment.minutes
