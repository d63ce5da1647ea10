"""Registered models on their way from one tracking store to another: versions, tags and aliases."""

from collections.abc import Iterator, Mapping, Set
from contextlib import nullcontext

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException

from tp1.registry.copied import Copied, pages
from tp1.registry.lock import is_lock, promotion_lock
from tp1.registry.versions import link_model
from tp1.store.access import is_absent
from tp1.store.addresses import quoted
from tp1.store.runs import MIGRATED_TAG

NUMBER_TAGS = ("tp1.replaced", "tp1.against")  # of a registered version; the value is the number of another version


class RegistryMigration:
    """Copies registered models, after the runs and logged models.

    Args:
        source, target: Clients of the two stores.
        runs, models: The ids that correspond in the two stores.
        failed: Logged models of the source that could not be copied.
    """

    def __init__(
        self,
        source: MlflowClient,
        target: MlflowClient,
        runs: Mapping[str, str],
        models: Mapping[str, str],
        failed: Set[str],
    ) -> None:
        self.source = source
        self.target = target
        self.runs = runs
        self.models = models
        self.failed = failed

    def everything(self) -> Iterator[Copied]:
        """Copy what the target does not have yet; yield the outcome for each version and alias."""
        for model in pages(self.source.search_registered_models):
            if not is_lock(model):
                yield from self._registered(model)

    def _registered(self, model: RegisteredModel) -> Iterator[Copied]:
        name = model.name
        versions = sorted(
            pages(self.source.search_model_versions, filter_string=f"name = {quoted(name)}"),
            key=lambda version: int(version.version),
        )
        if not versions:
            return
        with promotion_lock(name) if name.startswith("tp1-") else nullcontext():
            try:
                self.target.get_registered_model(name)
            except MlflowException as error:
                if not is_absent(error):
                    raise
                self.target.create_registered_model(name, dict(model.tags), model.description)
            numbers: dict[str, str] = {}  # source version number -> target version number
            there = list(pages(self.target.search_model_versions, filter_string=f"name = {quoted(name)}"))
            known = {version.tags.get(MIGRATED_TAG, ""): str(version.version) for version in there}
            tags = {str(version.version): version.tags for version in there}
            for version in versions:
                what = f"{name} version {version.version}"
                origin = version.model_id or (version.source or "").removeprefix("models:/")
                if (number := known.get(_origin(version))) is not None:
                    numbers[str(version.version)] = number
                    yield Copied(what, "there")
                elif origin in self.failed:
                    yield Copied(what, "failed", "its logged model was not copied")
                elif origin not in self.models:
                    yield Copied(what, "left", "its logged model is not in the source")
                else:
                    number = self._copy_version(version, self.models[origin])
                    numbers[str(version.version)] = number
                    yield Copied(
                        what, "copied", "" if number == str(version.version) else f"it is version {number} here"
                    )
            for version in versions:  # once all numbers are known; completes an interrupted migration too
                if (number := numbers.get(str(version.version))) is not None:
                    for key in NUMBER_TAGS:
                        if key in version.tags and key not in tags.get(number, {}):
                            other = numbers.get(version.tags[key], "")
                            self.target.set_model_version_tag(name, number, key, other)
            yield from self._aliases(model, numbers)

    def _copy_version(self, version: ModelVersion, model_id: str) -> str:
        tags = {key: value for key, value in version.tags.items() if key not in NUMBER_TAGS}
        if (run_id := tags.get("tp1.run_id")) is not None:
            tags["tp1.run_id"] = self.runs.get(run_id, run_id)
        created = self.target.create_model_version(
            version.name,
            f"models:/{model_id}",
            self.runs.get(version.run_id or ""),
            tags | {MIGRATED_TAG: _origin(version)},
            description=version.description,
            model_id=model_id,
        )
        link_model(self.target, created, model_id)
        return str(created.version)

    def _aliases(self, model: RegisteredModel, numbers: dict[str, str]) -> Iterator[Copied]:
        has = self.target.get_registered_model(model.name).aliases
        for alias, version in self.source.get_registered_model(model.name).aliases.items():
            what = f"{model.name}@{alias}"
            number = numbers.get(str(version))
            if number is None:
                yield Copied(what, "left", f"version {version} was not copied")
            elif alias not in has:
                self.target.set_registered_model_alias(model.name, alias, number)
                yield Copied(what, "copied")
            elif str(has[alias]) == number:
                yield Copied(what, "there")
            else:
                yield Copied(what, "left", f"it is version {has[alias]} here")


def _origin(version: ModelVersion) -> str:
    return f"{version.name}/{version.version} {version.creation_timestamp}"
