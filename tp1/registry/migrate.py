"""Copy runs, models and the model registry from another tracking store into the one in use.

MLflow's own tools cannot do this: `mlflow migrate-filestore` reads only file stores, into a new database, and
mlflow-export-import (2023) does not support logged models. Everything goes through MLflow's client, so the target may
be a server with accounts.

Copies get new ids. Each has its source's id in the tag ``tp1.migrated_from``, so that a repeated migration recognises
it. The final status of a run is set last: until then the process that copies it owns it, and a copy that nobody owns
comes from an interrupted migration; the next one of the same source, on the same machine, deletes it and starts again.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress

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
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from tp1.base.errors import TP1Error
from tp1.registry.copied import PAGE, Copied, batches, pages
from tp1.registry.migrate_files import copy_files, files_of, model_files_of
from tp1.registry.migrate_registry import RegistryMigration
from tp1.registry.migrate_source import Source, opened_source
from tp1.store.access import is_absent
from tp1.store.prepare import prepare_store
from tp1.store.runs import MIGRATED_TAG, PARENT_TAG
from tp1.tracking.ownership import held, is_held, machine

VALUES, PARAMETERS = 1000, 100  # MLflow's limits for one call
FINAL = ("FINISHED", "FAILED", "KILLED")
COPYING_TAG = "tp1.copied_on"  # of a copy that is not finished: the machine that copies it


def migrate(source_uri: str, prefix: str = "") -> Iterator[Copied]:
    """Copy the experiments, runs, logged models and registered models that the store in use does not have yet.

    Runs keep their names, times, parameters, tags, metric histories, data sets and files; models keep their files and
    links; versions keep their order, tags and aliases. Deleted objects and traces are not copied. A run or model whose
    files are not all there is not copied; the others are.

    Args:
        source_uri: URI of the source store, or the folder of a file store; it is only read.
        prefix: Put before experiment names; another user's experiment of the same name may be closed to us.

    Yields:
        The outcome for each run, logged model of no run, version and alias, as soon as it is known.

    Raises:
        TP1Error: A store cannot be used, source and target are the same store, or another process is migrating the
            source.
    """
    target_uri = prepare_store()
    with opened_source(source_uri, target_uri) as source:
        for path in source.unreadable:
            yield Copied(str(path), "failed", "MLflow cannot read its meta.yaml")
        yield from _Migration(source, prefix).everything()


class _Migration:
    """One pass over the source store, with the ids that correspond in the two stores.

    Args:
        source: The source store.
        prefix: Put before experiment names.
    """

    def __init__(self, source: Source, prefix: str) -> None:
        self.source_uri = source.uri
        self.name = source.name
        self.prefix = prefix
        self.source = MlflowClient(source.uri, source.uri)
        self.target = MlflowClient()
        self.runs: dict[str, str] = {}  # source id -> target id
        self.models: dict[str, str] = {}
        self.left: set[str] = set()  # runs of the source that were not copied
        self.failed: set[str] = set()  # logged models of the source that could not be copied
        # What is not whole in the target; perhaps another process is at work on it.
        self.unfinished: dict[str, list[Run]] = defaultdict(list)  # copies by the id in the source
        self.unfinished_models: dict[str, list[str]] = defaultdict(list)  # by that of the copied run, or of the source
        self.children: dict[str, list[str]] = defaultdict(list)  # source id of a parent not yet copied -> copies
        self.seen: list[str] = []  # the target's experiments that the user may see
        self.places: dict[str, str] = {}  # experiments: source id -> target id

    def everything(self) -> Iterator[Copied]:
        experiments = list(pages(self.source.search_experiments))
        self.seen = [experiment.experiment_id for experiment in pages(self.target.search_experiments)]
        if self.seen:
            self._check_distinct(experiments)
            self._learn()
        yield from self._all_runs({experiment.experiment_id: experiment for experiment in experiments})
        for experiment in experiments:
            yield from self._models_of_no_run(experiment)
        yield from RegistryMigration(self.source, self.target, self.runs, self.models, self.failed).everything()

    def _check_distinct(self, experiments: Sequence[Experiment]) -> None:
        """Refuse a source that is the target under another name: it would get a copy of each of its own runs."""
        first = [
            run.info.run_id
            for experiment in experiments
            for run in self.source.search_runs([experiment.experiment_id], max_results=1)
        ]
        for start in range(0, len(first), PAGE):
            # A search answers with what the user may see; to ask for a run that is not there may be forbidden.
            asked = ", ".join(f"'{run_id}'" for run_id in first[start : start + PAGE])
            for run in self.target.search_runs(self.seen, f"attributes.run_id IN ({asked})", max_results=1):
                raise TP1Error(
                    f"the store in use has run {run.info.run_id} of {self.name} itself: they are one store, or one is "
                    "a copy of the other. Set MLFLOW_TRACKING_URI to the one to copy to."
                )

    def _learn(self) -> None:
        """Find what earlier migrations copied, and what they or other processes have not finished."""
        found = f"tags.`{MIGRATED_TAG}` != ''"
        for run in pages(self.target.search_runs, experiment_ids=self.seen, filter_string=found):
            tags = run.data.tags
            if run.info.status not in FINAL:
                self.unfinished[tags[MIGRATED_TAG]].append(run)
                continue
            self.runs[tags[MIGRATED_TAG]] = run.info.run_id
            if (parent := tags.get(PARENT_TAG)) is not None:
                self.children[parent].append(run.info.run_id)
        for parent in self.children.keys() & self.runs.keys():
            with suppress(MlflowException):  # it may be another's copy, which is not ours to change
                self._adopt(parent)
        whole = set(self.runs.values())
        for start in range(0, len(self.seen), PAGE):
            some = self.seen[start : start + PAGE]
            for model in pages(self.target.search_logged_models, experiment_ids=some, filter_string=found):
                is_whole = model.source_run_id in whole if model.source_run_id else _is_final(model)
                if is_whole:
                    self.models[model.tags[MIGRATED_TAG]] = model.model_id
                else:
                    self.unfinished_models[model.source_run_id or model.tags[MIGRATED_TAG]].append(model.model_id)

    def _all_runs(self, experiments: dict[str, Experiment]) -> Iterator[Copied]:
        """Copy runs in the order of their starts: a model is there before the runs of any experiment that use it."""
        runs = pages(
            self.source.search_runs,
            experiment_ids=list(experiments),
            order_by=["start_time ASC", "run_id ASC"],
        )
        for run in runs:
            what, source_id = f"run {run.info.run_name}", run.info.run_id
            reason = self._reason_to_leave(run)
            if source_id in self.runs:
                yield Copied(what, "there")
                continue
            if reason is not None:
                self.left.add(source_id)
                yield Copied(what, "left", reason)
                continue
            where = self._place(experiments[run.info.experiment_id])
            outputs = [output.model_id for output in run.outputs.model_outputs] if run.outputs else []
            try:
                logged, deleted = self._logged(outputs)
                self._copy_run(run, logged, where)
            except TP1Error as error:
                self.left.add(source_id)
                self.failed.update(model_id for model_id in outputs if model_id not in self.models)
                yield Copied(what, "failed", str(error))
                continue
            yield Copied(what, "copied")
            for model_id in deleted:
                yield Copied(f"model {model_id} of {what}", "left", "it is deleted in the source")

    def _models_of_no_run(self, experiment: Experiment) -> Iterator[Copied]:
        """Copy the logged models that no run names as its outputs."""
        for model in pages(self.source.search_logged_models, experiment_ids=[experiment.experiment_id]):
            if model.model_id not in self.models and model.source_run_id not in self.left:
                where = self._place(experiment)
                try:
                    self._copy_model(model, where)
                except TP1Error as error:
                    self.failed.add(model.model_id)
                    yield Copied(f"model {model.name}", "failed", str(error))
                else:
                    yield Copied(f"model {model.name}", "copied")

    def _reason_to_leave(self, run: Run) -> str | None:
        """Return why a run is not to be copied now; None if it is, after its unfinished copies have been deleted."""
        if run.info.status not in FINAL:
            return f"it is {run.info.status}: migrate again when it has ended"
        for copy in self.unfinished.get(run.info.run_id, []):
            copy_id, there = copy.info.run_id, copy.data.tags.get(COPYING_TAG, machine())
            if there != machine():
                return (
                    f"{there} has begun to copy it, as run {copy_id}: let it finish there; if nothing is at work on it "
                    "there any more, delete that run and migrate again"
                )
            if is_held(copy_id):
                return f"another process is copying it, as run {copy_id}: wait for it, or end it"
        for copy in self.unfinished.pop(run.info.run_id, []):
            for model in self.unfinished_models.pop(copy.info.run_id, []):
                self.target.delete_logged_model(model)
            self.target.delete_run(copy.info.run_id)
        return None

    def _logged(self, model_ids: Sequence[str]) -> tuple[list[LoggedModel], list[str]]:
        """Return the source's logged models of these ids, and the ids of those that are deleted."""
        logged, deleted = [], []
        for model_id in model_ids:
            try:
                logged.append(self.source.get_logged_model(model_id))
            except MlflowException as error:
                if not is_absent(error):
                    raise
                deleted.append(model_id)
        return logged, deleted

    def _place(self, experiment: Experiment) -> str:
        """Return the id of the target's experiment of the same name (with the prefix); create it if needed."""
        if experiment.experiment_id not in self.places:
            self.places[experiment.experiment_id] = self._find_place(experiment)
        return self.places[experiment.experiment_id]

    def _find_place(self, experiment: Experiment) -> str:
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

    def _copy_run(self, run: Run, logged: Sequence[LoggedModel], where: str) -> None:
        source_id = run.info.run_id
        tags = dict(run.data.tags) | {MIGRATED_TAG: source_id, COPYING_TAG: machine()}
        parent = tags.get(PARENT_TAG)
        if parent is not None:
            tags[PARENT_TAG] = self.runs.get(parent, parent)
        created = self.target.create_run(where, run.info.start_time, tags, run.info.run_name)
        run_id = created.info.run_id
        models: list[str] = []
        try:
            with held(run_id):
                self._fill(run, logged, where, run_id, models)
        except BaseException:
            with suppress(MlflowException):
                for model_id in models:
                    self.target.delete_logged_model(model_id)
                self.target.delete_run(run_id)
            for model in logged:
                if self.models.get(model.model_id) in models:
                    del self.models[model.model_id]
            raise
        self.runs[source_id] = run_id
        if parent is not None and parent not in self.runs:
            self.children[parent].append(run_id)
        self._adopt(source_id)

    def _adopt(self, source_id: str) -> None:
        """Name a copied run as the parent of those that were copied before it, now or by an earlier migration."""
        for child in self.children.pop(source_id, []):
            self.target.set_tag(child, PARENT_TAG, self.runs[source_id])

    def _fill(self, run: Run, logged: Sequence[LoggedModel], where: str, run_id: str, models: list[str]) -> None:
        """Copy all of a run into its copy ``run_id``, and end that; ``models`` receives the ids of copied models."""
        for some in batches([Param(key, value) for key, value in run.data.params.items()], PARAMETERS):
            self.target.log_batch(run_id, params=some)
        inputs = self.source.get_run(run.info.run_id).inputs  # a search leaves out the models
        if inputs and inputs.dataset_inputs:
            self.target.log_inputs(run_id, datasets=inputs.dataset_inputs)
        for model in logged:
            if model.source_run_id == run.info.run_id:
                models.append(self._copy_model(model, where, run, run_id))
        outputs = run.outputs.model_outputs if run.outputs else []
        links = [
            LoggedModelOutput(self.models[output.model_id], output.step)
            for output in outputs
            if output.model_id in self.models
        ]
        if links:
            self.target.log_outputs(run_id, links)
        entries = inputs.model_inputs or [] if inputs else []
        used = [entry.model_id for entry in entries if entry.model_id in self.models]
        if used:
            self.target.log_inputs(run_id, models=[LoggedModelInput(self.models[model_id]) for model_id in used])
        measured, _ = self._logged(used)
        for points in batches(self._points(run, [*logged, *measured]), VALUES):
            self.target.log_batch(run_id, metrics=points)
        copy_files(
            run.info.artifact_uri,
            self.source_uri,
            f"run {run.info.run_id}",
            lambda folder: self.target.log_artifacts(run_id, folder),
            files_of(run),
        )
        self.target.delete_tag(run_id, COPYING_TAG)
        self.target.set_terminated(run_id, run.info.status, run.info.end_time)

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

    def _copy_model(self, model: LoggedModel, where: str, run: Run | None = None, run_id: str | None = None) -> str:
        """Copy a logged model with its files; return the new id.

        Args:
            run: The source run that logged it, if that is being copied.
            run_id: The copy of that run; None: the whole copy of its source run, if there is one.
        """
        for half in self.unfinished_models.pop(model.model_id, []):
            self.target.delete_logged_model(half)
        copy = self.target.create_logged_model(
            where,
            model.name,
            source_run_id=run_id or self.runs.get(model.source_run_id or ""),
            tags={key: value for key, value in model.tags.items() if key != MLFLOW_MODEL_VERSIONS}
            | {MIGRATED_TAG: model.model_id},
            params=dict(model.params),
            model_type=model.model_type or None,
        )
        model_id = str(copy.model_id)
        is_ready = model.status == LoggedModelStatus.READY
        try:
            copy_files(
                model.artifact_location,
                self.source_uri,
                f"model {model.model_id}",
                lambda folder: self.target.log_model_artifacts(model_id, folder),
                *(model_files_of(run, model) if run is not None and is_ready else ((), {})),
            )
            self.target.finalize_logged_model(model_id, "READY" if is_ready else "FAILED")
        except BaseException:
            with suppress(MlflowException):
                self.target.delete_logged_model(model_id)
            raise
        self.models[model.model_id] = model_id
        return model_id


def _is_final(model: LoggedModel) -> bool:
    return model.status in (LoggedModelStatus.READY, LoggedModelStatus.FAILED)


def _same(link: Metric, point: Metric) -> bool:
    return bool(link.value == point.value or (link.value != link.value and point.value != point.value))  # NaN
