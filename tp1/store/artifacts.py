"""The files of runs."""

from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tp1.base.errors import TP1Error, why
from tp1.store.addresses import local_path


def read_artifact(client: MlflowClient, run_id: str, name: str) -> bytes:
    """An artifact of a run.

    Args:
        name: Its path among the run's artifacts.

    Raises:
        TP1Error: The run has no such artifact, or it cannot be read, or its folder is gone; the message says which.
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
    if (lost := _lost_folder(client, run_id)) is not None:
        raise TP1Error(
            f"the files of run {run_id} are not in {lost}, where they were recorded: put them back, or beside the "
            "database (then: tp1 store relocate)."
        ) from failure
    raise TP1Error(
        f"run {run_id} has no artifact {name}: it was not logged whole. tp1 sync sends what may still wait on the "
        "machine where it ran; else run it again, and delete this one."
    ) from failure


def read_optional_artifact(client: MlflowClient, run_id: str, name: str) -> bytes | None:
    """An artifact of a run that not every run has; None if this one has none.

    Args:
        name: Its name, outside any folder.

    Raises:
        TP1Error: It is there but cannot be read, or whether it is there is not known.
    """
    try:
        listed = {entry.path for entry in client.list_artifacts(run_id)}
    except (MlflowException, OSError) as error:
        raise TP1Error(f"cannot list the artifacts of run {run_id}: {why(error)}") from error
    if not listed and (lost := _lost_folder(client, run_id)) is not None:
        raise TP1Error(f"the files of run {run_id} are not in {lost}, where they were recorded: put them back.")
    return read_artifact(client, run_id, name) if name in listed else None


def _lost_folder(client: MlflowClient, run_id: str) -> Path | None:
    """Return the folder in which a run's files were recorded, if the one that all runs have theirs in is gone.

    A run without files has no folder of its own, and says nothing about lost ones.
    """
    path = local_path(client.get_run(run_id).info.artifact_uri)
    return path if path is not None and not path.parent.parent.is_dir() else None
