"""Copy runs, models and the model registry from another tracking store into the one in use.

MLflow's own tools cannot do this: `mlflow migrate-filestore` reads only file stores, and mlflow-export-import (2023)
does not support logged models. Everything goes through MLflow's client, so the target may be a server with accounts.

Copies get new ids. Each has its source's id in the tag ``tp1.migrated_from``, so that a repeated migration recognises
it. The final status of a run is set last: a copied run that is still RUNNING comes from an interrupted migration, and
the next one deletes it and copies it again.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import (
    Experiment,
    LoggedModel,
    LoggedModelInput,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    Run,
)
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from tp1.base.errors import TP1Error, why
from tp1.registry.lock import LOCK_SUFFIX, promotion_lock
from tp1.store.access import is_absent
from tp1.store.addresses import masked, quoted
from tp1.store.prepare import prepare_store
from tp1.store.runs import MIGRATED_TAG

PAGE = 200  # entries per search request
VALUES, PARAMETERS = 1000, 100  # MLflow's limits for one call
FINAL = ("FINISHED", "FAILED", "KILLED")
PARENT_TAG = "mlflow.parentRunId"
VERSIONS_TAG = "mlflow.modelVersions"  # of a logged model; MLflow sets it when a version is registered
NUMBER_TAGS = ("tp1.replaced", "tp1.against")  # of a registered version; the value is the number of another version


@dataclass(frozen=True)
class Copied:
    """The outcome for one object of the source store.

    Attributes:
        what: The object, such as ``run cnnv3-s0``.
        outcome: ``copied``, ``there`` (the target already had it) or ``left`` (not copied).
        reason: Why it was left; for a copied version with another number, the new number.
    """

    what: str
    outcome: str
    reason: str = ""


def migrate(source_uri: str, prefix: str = "") -> Iterator[Copied]:
    """Copy the experiments, runs, logged models and registered models that the store in use does not have yet.

    Runs keep their names, times, parameters, tags, metric histories, data sets and files; models keep their files and
    links; versions keep their order, tags and aliases. Deleted objects and traces are not copied.

    Args:
        source_uri: URI of the source store, which is only read.
        prefix: Prepended to experiment names, such as ``ana/``, for accounts that may not write to every experiment.

    Yields:
        One outcome for each object, as soon as it is known.

    Raises:
        TP1Error: A store cannot be used, source and target are the same store, or files cannot be read.
    """
    target_uri = prepare_store()
    if source_uri.rstrip("/") == target_uri.rstrip("/"):
        raise TP1Error(f"{masked(source_uri)} is the store in use: set MLFLOW_TRACKING_URI to the one to copy to.")
    if source_uri.startswith("sqlite") and not Path(source_uri.partition("///")[2]).is_file():
        raise TP1Error(f"there is no database {source_uri.partition('///')[2]}: check the address.")
    prepare_store(source_uri)
    yield from _Migration(source_uri, prefix).everything()


class _Migration:
    """One pass over the source store, with the ids that correspond in the two stores."""

    def __init__(self, source_uri: str, prefix: str) -> None:
        self.source_uri = source_uri
        self.prefix = prefix
        self.source = MlflowClient(source_uri, source_uri)
        self.target = MlflowClient()
        self.runs: dict[str, str] = {}  # source id -> target id
        self.models: dict[str, str] = {}
        self.left: set[str] = set()  # runs of the source that were not copied

    def everything(self) -> Iterator[Copied]:
        self._learn()
        for experiment in _pages(self.source.search_experiments):
            yield from self._experiment(experiment)
        for model in _pages(self.source.search_registered_models):
            if not model.name.endswith(LOCK_SUFFIX):
                yield from self._registered(model)

    def _learn(self) -> None:
        """Find what earlier migrations copied; delete the copies that they did not finish."""
        ids = [experiment.experiment_id for experiment in _pages(self.target.search_experiments)]
        found = f"tags.`{MIGRATED_TAG}` != ''"
        for run in _pages(self.target.search_runs, experiment_ids=ids, filter_string=found):
            if run.info.status in FINAL:
                self.runs[run.data.tags[MIGRATED_TAG]] = run.info.run_id
            else:
                self.target.delete_run(run.info.run_id)
        whole = set(self.runs.values())
        for start in range(0, len(ids), PAGE):
            some = ids[start : start + PAGE]
            for model in _pages(self.target.search_logged_models, experiment_ids=some, filter_string=found):
                is_whole = model.source_run_id in whole if model.source_run_id else _is_final(model)
                if is_whole:
                    self.models[model.tags[MIGRATED_TAG]] = model.model_id
                else:
                    self.target.delete_logged_model(model.model_id)

    def _experiment(self, experiment: Experiment) -> Iterator[Copied]:
        where = ""
        runs = _pages(
            self.source.search_runs,
            experiment_ids=[experiment.experiment_id],
            order_by=["start_time ASC", "run_id ASC"],
        )
        for run in runs:  # parents start before their children
            what = f"run {run.info.run_name}"
            if run.info.status not in FINAL:
                self.left.add(run.info.run_id)
                yield Copied(what, "left", f"it is {run.info.status}: migrate again when it has ended")
            elif run.info.run_id in self.runs:
                yield Copied(what, "there")
            else:
                where = where or self._place(experiment)
                self._copy_run(run, where)
                yield Copied(what, "copied")
        for model in _pages(self.source.search_logged_models, experiment_ids=[experiment.experiment_id]):
            if model.model_id not in self.models and model.source_run_id not in self.left:
                where = where or self._place(experiment)
                self._copy_model(model, where)
                yield Copied(f"model {model.name}", "copied")

    def _place(self, experiment: Experiment) -> str:
        """Return the id of the target's experiment of the same name (with the prefix); create it if needed."""
        name = f"{self.prefix}{experiment.name}"
        there = self.target.get_experiment_by_name(name)
        if there is None:
            return str(self.target.create_experiment(name, tags=dict(experiment.tags)))
        if there.lifecycle_stage != "active":
            raise TP1Error(f"the target's experiment {name} was deleted: restore it, or give another prefix=.")
        for key, value in experiment.tags.items():
            if key not in there.tags:
                with suppress(MlflowException):  # not ours to change; writing runs raises if not allowed either
                    self.target.set_experiment_tag(there.experiment_id, key, value)
        return str(there.experiment_id)

    def _copy_run(self, run: Run, where: str) -> None:
        source_id = run.info.run_id
        tags = dict(run.data.tags) | {MIGRATED_TAG: source_id}
        if (parent := tags.get(PARENT_TAG)) is not None:
            tags[PARENT_TAG] = self.runs.get(parent, parent)
        created = self.target.create_run(where, run.info.start_time, tags, run.info.run_name)
        run_id = created.info.run_id
        models: list[str] = []
        try:
            parameters = [Param(key, value) for key, value in run.data.params.items()]
            for some in _batches(parameters, PARAMETERS):
                self.target.log_batch(run_id, params=some)
            if run.inputs and run.inputs.dataset_inputs:
                self.target.log_inputs(run_id, datasets=run.inputs.dataset_inputs)
            outputs = run.outputs.model_outputs if run.outputs else []
            logged = [self.source.get_logged_model(output.model_id) for output in outputs]
            for model in logged:
                if model.source_run_id == source_id:
                    models.append(self._copy_model(model, where, run_id))
            links = [
                LoggedModelOutput(self.models[output.model_id], output.step)
                for output in outputs
                if output.model_id in self.models
            ]
            if links:
                self.target.log_outputs(run_id, links)
            if run.inputs and (used := [entry.model_id for entry in run.inputs.model_inputs or []]):
                inputs = [LoggedModelInput(self.models[one]) for one in used if one in self.models]
                self.target.log_inputs(run_id, models=inputs)
            for points in _batches(self._points(run, logged), VALUES):
                self.target.log_batch(run_id, metrics=points)
            self._copy_files(
                run.info.artifact_uri, f"run {source_id}", lambda to: self.target.log_artifacts(run_id, to)
            )
            self.target.set_terminated(run_id, run.info.status, run.info.end_time)
        except BaseException:
            with suppress(MlflowException):
                for model_id in models:
                    self.target.delete_logged_model(model_id)
                self.target.delete_run(run_id)
            raise
        self.runs[source_id] = run_id

    def _points(self, run: Run, models: Sequence[LoggedModel]) -> Iterator[Metric]:
        """Yield every logged metric value, linked to the same models and data sets as in the source."""
        links: dict[tuple[str, int, int], list[Metric]] = {}
        for model in models:
            for link in model.metrics or []:
                if link.run_id in (None, run.info.run_id) and model.model_id in self.models:
                    links.setdefault((link.key, link.step, link.timestamp), []).append(link)
        for key in run.data.metrics:
            for point in self.source.get_metric_history(run.info.run_id, key):
                here = (point.key, point.value, point.timestamp, point.step)
                linked = [link for link in links.get((key, point.step, point.timestamp), []) if _same(link, point)]
                for link in linked:
                    yield Metric(
                        *here,
                        model_id=self.models[str(link.model_id)],
                        dataset_name=link.dataset_name,
                        dataset_digest=link.dataset_digest,
                    )
                if not linked:
                    yield Metric(*here)

    def _copy_model(self, model: LoggedModel, where: str, run_id: str | None = None) -> str:
        """Copy a logged model with its files; return the new id.

        Args:
            run_id: The target run that it belongs to; None: the copy of its source run, if there is one.
        """
        copy = self.target.create_logged_model(
            where,
            model.name,
            source_run_id=run_id or self.runs.get(model.source_run_id or ""),
            tags={key: value for key, value in model.tags.items() if key != VERSIONS_TAG}
            | {MIGRATED_TAG: model.model_id},
            params=dict(model.params),
            model_type=model.model_type or None,
        )
        model_id = str(copy.model_id)

        def upload(folder: str) -> None:
            self.target.log_model_artifacts(model_id, folder)

        self._copy_files(model.artifact_location, f"model {model.model_id}", upload)
        is_ready = model.status == LoggedModelStatus.READY
        self.target.finalize_logged_model(model_id, "READY" if is_ready else "FAILED")
        self.models[model.model_id] = model_id
        return model_id

    def _copy_files(self, uri: str, what: str, upload: Any) -> None:
        with TemporaryDirectory() as folder:
            try:
                files = get_artifact_repository(uri, tracking_uri=self.source_uri)
                if not files.list_artifacts(""):
                    return
                files.download_artifacts("", folder)
            except (MlflowException, OSError) as error:
                hint = " (a server kept them: migrate from its address)" if uri.startswith("mlflow-artifacts:") else ""
                raise TP1Error(f"cannot read the files of {what} in {masked(uri)}{hint}: {why(error)}") from error
            upload(folder)

    def _registered(self, model: RegisteredModel) -> Iterator[Copied]:
        name = model.name
        versions = sorted(
            _pages(self.source.search_model_versions, filter_string=f"name = {quoted(name)}"),
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
            there = list(_pages(self.target.search_model_versions, filter_string=f"name = {quoted(name)}"))
            known = {version.tags.get(MIGRATED_TAG, ""): str(version.version) for version in there}
            tags = {str(version.version): version.tags for version in there}
            for version in versions:
                what = f"{name} version {version.version}"
                model_id = self.models.get(version.model_id or (version.source or "").removeprefix("models:/"))
                if (number := known.get(_origin(version))) is not None:
                    numbers[str(version.version)] = number
                    yield Copied(what, "there")
                elif model_id is None:
                    yield Copied(what, "left", "its logged model is not in the source")
                else:
                    number = self._copy_version(version, model_id)
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


def _is_final(model: LoggedModel) -> bool:
    return model.status in (LoggedModelStatus.READY, LoggedModelStatus.FAILED)


def _same(link: Metric, point: Metric) -> bool:
    return bool(link.value == point.value or (link.value != link.value and point.value != point.value))  # NaN


def _pages(search: Any, **conditions: Any) -> Iterator[Any]:
    """Yield all results of one of MLflow's searches, which it reads page by page."""
    token = None
    while True:
        page = search(max_results=PAGE, page_token=token, **conditions)
        yield from page
        if not (token := page.token):
            return


def _batches(entries: Iterable[Any], size: int) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for entry in entries:
        batch.append(entry)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
