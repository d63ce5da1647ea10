"""What the rows of a table have in common, and in which parameters they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tp1.config import hyperparameters
from tp1.report.comparison import Group

Value = str | float | None


@dataclass(frozen=True)
class Parameters:
    """Parameters of groups of runs on one data set, with the digests of its files and its split among them.

    Attributes:
        shared: Those with the same value in all groups, by name; without those that none of them has.
        varied: The names of the others.
        rows: All parameters of each group.
    """

    shared: Mapping[str, Value]
    varied: Sequence[str]
    rows: Sequence[Mapping[str, Value]]


def parameters_of(groups: Sequence[Group]) -> Parameters:
    """Sort out the parameters of these groups, of which there is at least one."""
    rows = []
    for group in groups:
        run = group.runs[0]
        values: dict[str, Value] = {**hyperparameters(run.params)}
        del values["dataset"]
        rows.append(values | {"data_digest": run.data_digest[:8], "split_digest": run.split_digest[:8]})
    varied = [name for name in rows[0] if len({row[name] for row in rows}) > 1]
    shared = {name: value for name, value in rows[0].items() if name not in varied and value not in (None, "")}
    return Parameters(shared, varied, rows)
