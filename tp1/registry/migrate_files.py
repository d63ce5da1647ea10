"""The files of a run or logged model on their way from one store to another: all of them, or an error."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow.entities import LoggedModel, Run
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from tp1.base.digests import DIGESTS_TAG, check_digests, from_tag
from tp1.base.errors import TP1Error, why
from tp1.store.addresses import masked
from tp1.store.records import has_record, record_files
from tp1.store.runs import MODEL_TAG

REMEDY = "put its files back, and migrate again"


def files_of(run: Run) -> tuple[str, ...]:
    """Return the names of the artifacts that a run must have: those of its record, if it is finished and has one."""
    tags = run.data.tags
    return record_files(tags) if run.info.status == "FINISHED" and has_record(tags) else ()


def model_files_of(run: Run, model: LoggedModel) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the names of the files that a finished model must have, and the digests that were recorded of them.

    Args:
        run: The run that logged it.

    Raises:
        TP1Error: The record of the digests is damaged.
    """
    outputs = run.outputs.model_outputs if run.outputs else []
    is_recorded = bool(outputs) and outputs[-1].model_id == model.model_id
    names = ("MLmodel",) if MODEL_TAG in run.data.tags else ()  # others may log a model that lies elsewhere
    return names, from_tag(run.data.tags.get(DIGESTS_TAG)) if is_recorded else {}


def copy_files(
    location: str,
    store: str,
    what: str,
    upload: Callable[[str], object],
    names: Collection[str] = (),
    digests: Mapping[str, str] | None = None,
) -> None:
    """Copy the files at a location of a store, if there are any.

    Args:
        location: The location, as the store records it.
        store: The store's address.
        what: Whose files they are, for messages.
        upload: Copies the files of a folder to the target.
        names: Files that must be among them.
        digests: SHA-256 digests of files that must be among them.

    Raises:
        TP1Error: The files cannot be read, or some are missing or others than recorded; none were copied.
    """
    with TemporaryDirectory() as folder:
        try:
            files = get_artifact_repository(location, tracking_uri=store)
            if files.list_artifacts(""):
                files.download_artifacts("", folder)
        except (MlflowException, OSError) as error:
            hint = " (a server kept them: migrate from its address)" if location.startswith("mlflow-artifacts:") else ""
            raise TP1Error(f"cannot read the files of {what} in {masked(location)}{hint}: {why(error)}") from error
        for name in names:
            if not (Path(folder) / name).is_file():
                raise TP1Error(f"{what} lacks its file {name} in {masked(location)}: {REMEDY}.")
        check_digests(Path(folder), digests or {}, f"{what} in {masked(location)}", REMEDY)
        if any(Path(folder).iterdir()):
            upload(folder)
