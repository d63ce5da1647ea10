"""The files of runs."""

from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tp1.base.errors import TP1Error, why


def read_artifact(client: MlflowClient, run_id: str, name: str) -> bytes:
    """An artifact of a run.

    Args:
        name: Its path among the run's artifacts.

    Raises:
        TP1Error: The run has no such artifact, or it cannot be read; the message says which of the two.
    """
    with TemporaryDirectory() as folder:
        try:
            return Path(client.download_artifacts(run_id, name, folder)).read_bytes()
        except (MlflowException, OSError) as error:
            failure, reason = error, why(error)
    try:
        is_listed = any(entry.path == name for entry in client.list_artifacts(run_id, name.rpartition("/")[0] or None))
    except (MlflowException, OSError):  # neither is known: whether it is there, and what is in it
        is_listed = True
    if is_listed:
        raise TP1Error(f"cannot read the artifact {name} of run {run_id}: {reason}") from failure
    raise TP1Error(
        f"run {run_id} has no artifact {name}: it was not logged whole; run it again, and delete this one."
    ) from failure
