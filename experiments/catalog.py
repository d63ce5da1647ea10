"""Load the experiments in this folder, in the order of the report."""

import importlib
import pkgutil
import re
from collections.abc import Collection
from pathlib import Path

from tp1.base.errors import TP1Error, why
from tp1.base.names import message_line
from tp1.experiment import Experiment, Study, Transfer, experiments_of

HELPERS = ("catalog", "published")  # other files here that are not experiments begin with _


def load_catalog(reserved: Collection[str] = ()) -> tuple[list[Experiment | Study], list[str]]:
    """Load all experiments and studies in the order of the report; those not in the report come last, by name.

    A file that is not a valid experiment (a draft, a copy) is left out, so that it does not stop the others.

    Args:
        reserved: Names that an experiment cannot have.

    Returns:
        The experiments and studies, and for each file that was left out, one line with the fault and its remedy.
    """
    found: list[Experiment | Study] = []
    faults = []
    for name in sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])):
        if name.startswith("_") or name in HELPERS:
            continue
        try:
            found.append(_load(name, reserved))
        except (Exception, SystemExit) as error:  # an unfinished file can raise anything
            kind = "" if isinstance(error, (_FaultError, TP1Error)) else f"{type(error).__name__}: "
            reason = f"{kind}{why(error)}".removesuffix(".")
            faults.append(message_line(f"experiments/{name}.py is left out: {reason}."))
    return sorted(found, key=lambda entry: (entry.section or "~", getattr(entry, "figures", ()), entry.name)), faults


class _FaultError(Exception):
    """A fault in the file of an experiment."""


def _load(module_name: str, reserved: Collection[str]) -> Experiment | Study:
    module = importlib.import_module(f"experiments.{module_name}")
    entry = getattr(module, "experiment", None)
    if not isinstance(entry, (Experiment, Study)):
        raise _FaultError(
            "it has no value `experiment` of type Experiment or Study. Finish it, or put _ before its name"
        )
    for one in experiments_of(entry):
        if not callable(one.model) and not isinstance(one.model, Transfer):
            raise _FaultError(f"its model={one.model!r} is no network. Give it a function of tp1/models/networks.py")
    if not re.fullmatch("[a-z][a-z0-9]*(-[a-z0-9]+)*", entry.name) or entry.name in reserved:
        taken = "is a command already" if entry.name in reserved else "is not lower-case letters, digits and -"
        raise _FaultError(f"its name {entry.name!r} {taken}. Give it another")
    if module_name != (file := entry.name.replace("-", "_")):
        raise _FaultError(
            f"it has the name {entry.name!r}, which belongs into {file}.py. Give the experiment a name of its own, "
            "and the file the same one, with _ for -"
        )
    return entry
