"""The folder in which the user is, if `mlflow run` has started this process elsewhere."""

import os
from pathlib import Path

import psutil

RUN_ID = "MLFLOW_RUN_ID"  # `mlflow run` sets it for the process that it starts, in the project's folder


def launch_folder() -> Path | None:
    """Return the working directory of the `mlflow run` that has started this process; None if none has.

    It is the one of the nearest ancestor that did not get the run's id when it was started, and so has given it on.

    Raises:
        LookupError: It cannot be known.
    """
    if (run_id := os.environ.get(RUN_ID)) is None:
        return None
    try:
        process = psutil.Process()
        if process.environ().get(RUN_ID) != run_id:  # set within this process, not by a launcher
            return None
        for parent in process.parents():
            if parent.environ().get(RUN_ID) != run_id:
                return Path(parent.cwd())
    except (psutil.Error, OSError) as error:  # such as another user's process
        raise LookupError(str(error)) from error
    raise LookupError(run_id)
