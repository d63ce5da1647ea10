"""Where the runs of a list are done: one after another here, in processes of this machine, or on a Ray cluster."""

import re
from dataclasses import dataclass
from importlib.util import find_spec

from tp1.base.errors import TP1Error

MOST_WORKERS = 256
LOCAL, AUTO = "local", "auto"


@dataclass(frozen=True)
class Spread:
    """Where the runs of a list are done.

    Attributes:
        workers: How many at a time; None: one, or as many as the cluster has room for.
        ray: The Ray cluster: ``local`` (one that lasts as long as the list), ``auto`` (the one that this machine is
            part of) or ``HOST:PORT``. None: without Ray.

    Raises:
        TP1Error: ``ray`` is none of these, or Ray is not installed.
    """

    workers: int | None = None
    ray: str | None = None

    def __post_init__(self) -> None:
        if self.ray is None:
            return
        if self.ray not in (LOCAL, AUTO) and not re.fullmatch(r"[\w.-]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}", self.ray):
            raise TP1Error(f"ray={self.ray} is not known: choose local, auto, or the HOST:PORT that ray start prints.")
        if find_spec("ray") is None:
            raise TP1Error(
                f"ray={self.ray}: Ray is not installed here: in the checkout, pip install --editable '.[ray]'."
            )

    @property
    def is_spread(self) -> bool:
        """Whether other processes do the runs."""
        return self.ray is not None or (self.workers or 1) > 1
