"""Select the runs to compare, and the pairs for paired tests."""

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pandas as pd

from tp1.base.errors import TP1Error
from tp1.experiment import Experiment, Study, by_name_and_configuration, experiments_of
from tp1.report.comparison import DESCENDING, Group, group, groups_of, newest, table, unique_label
from tp1.report.paired import Paired, compare_predictions
from tp1.report.sweeps import SweepTrials, collect
from tp1.store.addresses import masked
from tp1.store.identity import identity
from tp1.store.reader import RunReader
from tp1.store.runs import TrackedRun


@dataclass(frozen=True)
class Selection:
    """The runs found for a comparison.

    Attributes:
        groups: Runs grouped by configuration.
        broken: Finished runs that were not logged completely; they are left out.
        sweeps: Sweeps of the same experiments; their trials are in no group.
    """

    groups: list[Group]
    broken: list[TrackedRun]
    sweeps: list[SweepTrials]

    def complaint(self) -> str | None:
        """Return one line that names the runs left out, or None if there are none."""
        if not self.broken:
            return None
        named = "; ".join(f"{run.name} ({run.run_id}) lacks {', '.join(run.missing[:3])}" for run in self.broken[:5])
        return (
            f"{len(self.broken)} finished runs were not logged whole and are left out: {named}. "
            "tp1 sync sends what may still wait on the machine where they ran; else delete them in the tracking UI and "
            "run their experiments again."
        )


def select(
    reader: RunReader,
    entries: Sequence[Experiment | Study],
    names: Collection[str] | None = None,
    dataset: str | None = None,
    since: int | None = None,
) -> Selection:
    """Find the runs to compare, grouped by configuration.

    Args:
        entries: The experiments and studies that this code knows.
        names: Names of experiments, studies or configurations; None: all runs, also of unknown experiments.
        dataset: Only runs on this data set; None: on any.
        since: Only runs that started at this time or later, in milliseconds since 1970, UTC; None: at any time.
    """
    known = by_name_and_configuration(entries)
    wanted = (
        None if names is None else {(one.name, one.configuration) for name in names for one in named(name, entries)}
    )
    if wanted is None:
        runs = list(reader.find_runs(None, dataset, since))
    else:
        runs = [
            run
            for experiment in dict.fromkeys(experiment for experiment, _ in sorted(wanted))
            for run in reader.find_runs(experiment, dataset, since)
            if (run.experiment, run.configuration) in wanted
        ]
    chosen, broken = newest(runs)
    trials = [
        run
        for run in reader.find_trials()
        if (wanted is None or (run.experiment, run.configuration) in wanted)
        and (dataset is None or run.dataset == dataset)
        and (since is None or run.start_time >= since)
    ]
    return Selection(group(chosen, known), broken, collect(trials, known))


def named(name: str, entries: Sequence[Experiment | Study]) -> tuple[Experiment, ...]:
    """Return what ``name`` names: an experiment, all configurations of a study, or one of them (``cnnv3-c2``).

    Raises:
        TP1Error: There is no experiment or study of this name.
    """
    for entry in entries:
        if entry.name == name:
            return experiments_of(entry)
        for experiment in experiments_of(entry):
            if experiment.label == name:
                return (experiment,)
    raise TP1Error(f"there is no experiment {name!r}: there are {', '.join(entry.name for entry in entries)}.")


def nothing_found(reader: RunReader, names: Collection[str] | None, limits: str) -> TP1Error:
    """Return the error for no matching run; it names the commands that would make some."""
    commands = " or ".join(f"mlflow run . -e {name}" for name in names or ["cnnv3"])
    what = f" of {', '.join(names)}" if names else ""
    return TP1Error(f"no finished run{what}{limits} in {masked(reader.uri)}: make one with {commands}.")


def sort_groups(groups: Sequence[Group], column: str | None) -> list[Group]:
    """Sort groups by a column of their table; None keeps their order.

    Raises:
        TP1Error: The table has no such column.
    """
    if column is None:
        return list(groups)
    frame = table(groups)
    if column not in frame:
        raise TP1Error(f"sort={column}: the table has no such column; it has {', '.join(map(str, frame))}.")
    order = frame[column].sort_values(ascending=column not in DESCENDING, na_position="last", kind="stable").index
    return [groups[place] for place in order]


def compare_pairs(
    reader: RunReader, groups: Sequence[Group], others: Sequence[Group]
) -> tuple[dict[str, Paired], list[Group]]:
    """Compare each group with the first of ``others`` that was tested on the same images, seed by seed.

    Groups without a common seed are compared by the first run of each.

    Args:
        others: Of one experiment or configuration, the preferred ones first; at least one.

    Returns:
        The paired comparisons by title, and the groups that none of ``others`` shares its images with.

    Raises:
        TP1Error: A run has no predictions, or there is nothing to compare.
    """
    pairs, alone = {}, []
    for one in groups:
        other = next((candidate for candidate in others if _images(candidate) == _images(one)), None)
        if other is None:
            alone.append(one)
        elif identity(other.runs[0]) != identity(one.runs[0]):
            names = unique_label(one, groups), unique_label(other, others)
            for first, second in _by_seed(one, other):
                title = f"{names[0]} (seed {first.seed}) against {names[1]} (seed {second.seed})"
                pairs[title] = compare_predictions(_predictions(reader, first), _predictions(reader, second))
    if not pairs:
        raise TP1Error(
            f"there is nothing to compare with {others[0].label}: no other run was tested on the same images (data and "
            f"split digests {' or '.join(dict.fromkeys(' '.join(_images(one)) for one in others))})."
        )
    return pairs, alone


def groups_named(name: str, groups: Sequence[Group], entries: Sequence[Experiment | Study]) -> list[Group]:
    """Return the groups of ``name`` (an experiment, or ``cnnv3-c2``), defaults first, then the newest."""
    return [candidate for experiment in named(name, entries) for candidate in groups_of(experiment, groups)]


def _images(one: Group) -> tuple[str, str]:
    return one.runs[0].data_digest, one.runs[0].split_digest


def _by_seed(one: Group, other: Group) -> list[tuple[TrackedRun, TrackedRun]]:
    seconds = {run.seed: run for run in other.runs}
    both = [(run, seconds[run.seed]) for run in one.runs if run.seed in seconds]
    return both or [(one.runs[0], other.runs[0])]


def _predictions(reader: RunReader, run: TrackedRun) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(reader.read_file(run.run_id, "predictions.parquet")))
