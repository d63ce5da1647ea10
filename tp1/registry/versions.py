"""Registered models: their versions and aliases."""

import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from getpass import getuser

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from tp1.report.model_card import shortened
from tp1.store.access import is_absent
from tp1.store.addresses import quoted

CHAMPION, CHALLENGER = "champion", "challenger"
DESCRIPTION_LIMIT = 5000  # characters: longest description of a version in MLflow's database


@dataclass(frozen=True)
class Version:
    """A version of a registered model.

    Attributes:
        aliases: Its aliases, such as ``champion``.
    """

    name: str
    number: int
    run_id: str
    model_id: str
    tags: Mapping[str, str]
    description: str
    aliases: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} version {self.number}"


def registered_name(dataset: str) -> str:
    """Return the name of a data set's registered model, such as ``tp1-cifar10``."""
    return f"tp1-{re.sub(r'[/:@]', '_', dataset)}"  # signs with a meaning in models:/NAME@ALIAS


def who() -> str:
    """Return the user and machine of this process, as ``user@host``."""
    try:
        user = getuser()
    except (KeyError, OSError):  # some containers have no passwd entry for the user
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def now() -> str:
    """Return the current time (UTC) in the format of version tags."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"


def find_version(name: str, which: int | str, uri: str | None = None) -> Version | None:
    """Return a version of a registered model, or None if there is no such version.

    Args:
        which: Version number, or an alias.
        uri: URI of the store; None for the one in use.
    """
    client = MlflowClient(uri, uri)
    try:
        if isinstance(which, str):
            # From the list of aliases: asked for an alias that is not there, MLflow answers as to a bad request.
            number = client.get_registered_model(name).aliases.get(which)
            return None if number is None else _version(client.get_model_version(name, str(number)))
        return _version(client.get_model_version(name, str(which)))
    except MlflowException as error:
        if is_absent(error):
            return None
        raise


def register(name: str, run_id: str, model_id: str) -> Version:
    """Register a model; return its new version, or the existing one if it is registered already."""
    client = MlflowClient()
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
    source = f"models:/{model_id}"
    for known in client.search_model_versions(f"name = {quoted(name)}"):
        if known.source == source:
            found = client.get_model_version(name, known.version)
            break
    else:
        found = client.create_model_version(name, source, run_id, model_id=model_id)
    link_model(client, found, model_id)
    return _version(found)


def link_model(client: MlflowClient, version: ModelVersion, model_id: str) -> None:
    """Make MLflow's page of a logged model show a version of it. A server does that itself, a database does not."""
    shown = json.loads(client.get_logged_model(model_id).tags.get(MLFLOW_MODEL_VERSIONS, "[]"))
    if (version.name, int(version.version)) not in {(one["name"], int(one["version"])) for one in shown}:
        link = {"name": version.name, "version": int(version.version)}
        client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: json.dumps([*shown, link])})


def describe(version: Version, description: str, tags: Mapping[str, str]) -> None:
    """Set a version's description and tags."""
    client = MlflowClient()
    for key, value in tags.items():
        client.set_model_version_tag(version.name, str(version.number), key, value)
    client.update_model_version(version.name, str(version.number), fitting(description))


def make_champion(version: Version) -> None:
    """Give a version the alias ``champion``; remove ``challenger`` from it if it has that."""
    client = MlflowClient()
    client.set_registered_model_alias(version.name, CHAMPION, str(version.number))
    challenger = find_version(version.name, CHALLENGER)
    if challenger is not None and challenger.number == version.number:
        client.delete_registered_model_alias(version.name, CHALLENGER)


def make_challenger(version: Version) -> None:
    """Give a version the alias ``challenger``."""
    MlflowClient().set_registered_model_alias(version.name, CHALLENGER, str(version.number))


def fitting(text: str) -> str:
    """Return the description as MLflow's database takes it: a long card has fewer classes, the rest is cut."""
    text = shortened(text, DESCRIPTION_LIMIT)
    if len(text) <= DESCRIPTION_LIMIT:
        return text
    notice = "\n\n(Cut off here: see the run.)\n"
    return text[: DESCRIPTION_LIMIT - len(notice)].rpartition("\n")[0] + notice


def _version(found: ModelVersion) -> Version:
    return Version(
        name=found.name,
        number=int(found.version),
        run_id=found.run_id or "",
        model_id=found.model_id or (found.source or "").removeprefix("models:/"),
        tags=dict(found.tags or {}),
        description=found.description or "",
        aliases=tuple(found.aliases or ()),
    )
