"""Find models in the tracking store by any of their names, and download their files."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository

from tp1.base.digests import DIGESTS_TAG, check_digests, from_tag
from tp1.base.errors import TP1Error, why
from tp1.registry.versions import Version, find_version
from tp1.store.access import is_absent, is_refused
from tp1.store.addresses import masked
from tp1.store.reader import find_run


class GoneError(TP1Error):
    """The tracking store has answered that a model, or its files, are not there (any more)."""


@dataclass(frozen=True)
class StoredModel:
    """A model in the tracking store.

    Attributes:
        run_id: The run that logged it; empty if unknown.
        sha256: SHA-256 digests of its files, as recorded; empty if none were recorded.
        version: The registered version, if the model was looked up by one; else None.
    """

    model_id: str
    run_id: str
    sha256: Mapping[str, str]
    version: Version | None

    def __str__(self) -> str:
        return str(self.version) if self.version else f"model {self.model_id}"


def find_model(uri: str) -> StoredModel:
    """Find the model that ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or ``models:/m-ID`` names.

    Raises:
        TP1Error: There is no such model.
    """
    client = MlflowClient()
    by_name = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", uri)
    if by_name:
        name, alias, number = by_name.groups()
        version = find_version(name, alias if alias else int(number))
        if version is None:
            raise TP1Error(f"no model {uri} in {masked(mlflow.get_registry_uri())}: see its model registry.")
        return stored(version)
    try:
        logged = client.get_logged_model(uri.removeprefix("models:/"))
    except MlflowException as error:
        if not is_refused(error):
            raise
        raise TP1Error(
            f"no model {uri} in {masked(mlflow.get_tracking_uri())}: give models:/NAME@ALIAS, models:/NAME/VERSION or "
            "the models:/m-... that a run printed."
        ) from error
    run_id = logged.source_run_id or ""
    return StoredModel(logged.model_id, run_id, _digests({}, run_id), None)


def find_model_of_run(run_id: str) -> StoredModel:
    """Find the model that a run logged (the last one, if there are several).

    Raises:
        GoneError: It has no model in this store, such as one that failed.
        TP1Error: There is no such run.
    """
    run = find_run(run_id)
    outputs = run.outputs.model_outputs if run.outputs else []
    if not outputs:
        raise GoneError(f"run {run_id} has no model here: it failed, or was loaded from a record without its model.")
    return StoredModel(outputs[-1].model_id, run_id, from_tag(run.data.tags.get(DIGESTS_TAG)), None)


def stored(version: Version) -> StoredModel:
    """Return the model of a registered version."""
    return StoredModel(version.model_id, version.run_id, _digests(version.tags, version.run_id), version)


def fetch(model: StoredModel, folder: Path) -> Path:
    """Download a model's files into ``folder`` and check them against their recorded digests; return their path.

    Raises:
        GoneError: There are no files: they, or the model, were deleted.
        TP1Error: The files cannot be read, or do not match the digests.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        path = Path(mlflow.artifacts.download_artifacts(f"models:/{model.model_id}", dst_path=str(folder)))
    except (MlflowException, OSError) as error:
        if _is_gone(model):
            raise _gone(model) from error
        raise TP1Error(f"cannot read the files of {model} ({why(error)}).") from error
    if not any(path.iterdir()):  # so MLflow answers for a model without files
        raise _gone(model)
    check_digests(path, model.sha256, str(model), "restore its artifacts, or train it anew")
    return path


def download_weights(model_uri: str, folder: Path) -> Path:
    """Download the weights file of a model of this platform into ``folder``; return its path.

    Args:
        model_uri: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or ``models:/m-ID``.

    Raises:
        TP1Error: There is no such model, it was not made by this platform, or its weights are not the recorded ones.
    """
    name = "extra_files/weights.safetensors"
    model = find_model(model_uri)
    try:
        path = Path(ModelsArtifactRepository(model_uri).download_artifacts(name, str(folder)))
    except (MlflowException, OSError) as error:
        raise TP1Error(
            f"no model {model_uri} with {name} in {masked(mlflow.get_tracking_uri())} "
            f"({why(error)}): see the model registry."
        ) from error
    recorded = {key: value for key, value in model.sha256.items() if key == name}
    check_digests(path.parents[1], recorded, str(model), "restore its artifacts, or train it anew")
    return path


def _gone(model: StoredModel) -> GoneError:
    return GoneError(f"the files of {model} were deleted: restore them, or promote another model.")


def _is_gone(model: StoredModel) -> bool:
    """Whether the store says that a model has no files; False if it does not answer."""
    try:
        return not MlflowClient().list_logged_model_artifacts(model.model_id)
    except (MlflowException, OSError) as error:
        return is_absent(error)


def _digests(tags: Mapping[str, str], run_id: str) -> dict[str, str]:
    recorded = from_tag(tags.get(DIGESTS_TAG))
    if not recorded and run_id:
        try:
            recorded = from_tag(MlflowClient().get_run(run_id).data.tags.get(DIGESTS_TAG))
        except MlflowException as error:
            if not is_absent(error):  # deleted for good is one thing, a store that does not answer another
                raise
    return recorded
