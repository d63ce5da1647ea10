"""The project's own experiments."""

from experiments.catalog import load_catalog
from tp1.experiment import Experiment, Study


def catalog() -> list[Experiment | Study]:
    """Every experiment and study, in the order of the report."""
    entries, faults = load_catalog()
    assert not faults, faults
    return entries
