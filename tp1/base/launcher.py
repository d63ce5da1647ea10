"""The folder in which the user is, if `mlflow run` has started this process elsewhere."""

import os
from pathlib import Path

import psutil

RUN_ID = "MLFLOW_RUN_ID"  # `mlflow run` sets it for the process that it starts, in the project's folder


def launch_folder() -> Path | None:
    """Return the working directory of the `mlflow run` that has started this process; else that of this process.

    It is the one of the nearest ancestor that did not get the run's id when it was started, and so has given it on.
    None if it cannot be known.
    """
    run_id = os.environ.get(RUN_ID)
    try:
        process = psutil.Process()
        if run_id is None or process.environ().get(RUN_ID) != run_id:  # set within this process, not by a launcher
            return Path.cwd()
        for parent in process.parents():
            if parent.environ().get(RUN_ID) != run_id:
                return Path(parent.cwd())
    except (psutil.Error, OSError):  # such as another user's process
        pass
    return None
