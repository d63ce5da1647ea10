"""Reading runs from a tracking store, whether a database or a server."""

from collections.abc import Iterator, Sequence

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from tp1.base.errors import TP1Error
from tp1.store.access import is_refused
from tp1.store.addresses import is_database, is_server, masked
from tp1.store.artifacts import read_artifact, read_optional_artifact
from tp1.store.database import DatabaseRuns
from tp1.store.runs import (
    MIGRATED_TAG,
    MODEL_TAG,
    PARENT_TAG,
    REFERENCE_TAG,
    SWEEP_TAG,
    TRIAL_TAG,
    RunQuery,
    RunSource,
    TrackedRun,
)
from tp1.store.server import ServerRuns


class RunReader:
    """Reads runs from a tracking store.

    Args:
        uri: URI of the store; None for the one in use.

    Raises:
        TP1Error: The store is neither a database nor a server.
    """

    def __init__(self, uri: str | None = None) -> None:
        self.uri = uri or mlflow.get_tracking_uri()
        self._source = _source(self.uri)
        self._client = MlflowClient(self.uri)

    def find_runs(
        self, experiment: str | None = None, dataset: str | None = None, since: int | None = None
    ) -> Iterator[TrackedRun]:
        """Yield finished training runs from all MLflow experiments of the tracking store, newest first.

        The trials of a sweep are not among them (:meth:`find_trials`): they were tried to choose parameters.

        Args:
            experiment: Only runs with this tag ``tp1.experiment``.
            dataset: Only runs with this tag ``tp1.dataset``.
            since: Only runs that started then or later; milliseconds since 1970, UTC.
        """
        given = {"tp1.experiment": experiment, "tp1.dataset": dataset}
        tags = {tag: value for tag, value in given.items() if value is not None}
        found = self._source.find(RunQuery(status="FINISHED", has=MODEL_TAG, tags=tags, since=since))
        return (run for run in found if not run.sweep)

    def find_finished(self, run_ids: Sequence[str]) -> list[TrackedRun]:
        """Return those of some runs that are finished training runs, newest first."""
        return list(self._source.find(RunQuery(status="FINISHED", has=MODEL_TAG, run_ids=run_ids)))

    def find_trials(self, sweep: str | None = None) -> list[TrackedRun]:
        """Return the trials of a sweep, or of all sweeps, with any status; newest first."""
        tags = {} if sweep is None else {SWEEP_TAG: sweep}
        return [run for run in self._source.find(RunQuery(has=TRIAL_TAG, tags=tags)) if run.sweep]

    def find_children(self, parent: str) -> Iterator[TrackedRun]:
        """Yield the runs below a parent run, with any status; newest first."""
        return self._source.find(RunQuery(tags={PARENT_TAG: parent}))

    def find_looks(self) -> dict[str, str]:
        """Return the id of the newest finished ``eda`` run of each data set, by the data set's name."""
        found: dict[str, str] = {}
        for run in self._source.find(RunQuery(status="FINISHED", tags={"tp1.experiment": "eda"})):
            if run.dataset:
                found.setdefault(run.dataset, run.run_id)
        return found

    def find_started(self, run_ids: Sequence[str]) -> list[TrackedRun]:
        """Return this project's runs with status RUNNING, and those of ``run_ids`` that exist; newest first."""
        queries = (RunQuery(status="RUNNING", has="tp1.experiment"), RunQuery(run_ids=run_ids))
        found = {run.run_id: run for query in queries for run in self._source.find(query)}
        return sorted(found.values(), key=lambda run: run.start_time, reverse=True)

    def find_copy(self, run_id: str) -> str | None:
        """Return the id of run ``run_id`` in the store, or of a whole reference or migrated copy; None without any."""
        for query in (
            RunQuery(run_ids=[run_id]),
            RunQuery(tags={REFERENCE_TAG: run_id}),
            RunQuery(tags={MIGRATED_TAG: run_id}),
        ):
            for run in self._source.find(query):
                if query.run_ids or run.status == "FINISHED" or run.pruned is not None:  # else a half-written copy
                    return run.run_id
        return None

    def read_histories(self, run_ids: Sequence[str], metrics: Sequence[str]) -> dict[str, dict[str, list[float]]]:
        """Return the values of each metric of each run, ordered by step; an empty list if a run lacks the metric."""
        histories: dict[str, dict[str, list[float]]] = {run_id: {name: [] for name in metrics} for run_id in run_ids}
        for run_id, name, value in self._source.histories(run_ids, metrics):
            histories[run_id][name].append(value)
        return histories

    def read_file(self, run_id: str, name: str) -> bytes:
        """Return the content of an artifact.

        Raises:
            TP1Error: The run has no such artifact, or it cannot be read.
        """
        return read_artifact(self._client, run_id, name)

    def read_optional_file(self, run_id: str, name: str) -> bytes | None:
        """Return the content of an artifact that not every run has; None if this one has none.

        Raises:
            TP1Error: It cannot be read, or whether it is there is not known.
        """
        return read_optional_artifact(self._client, run_id, name)


def find_run(run_id: str, uri: str | None = None) -> Run:
    """Return a run of a tracking store, as MLflow's own object.

    Args:
        uri: The store; None: the one in use.

    Raises:
        TP1Error: The store does not have the run, or the run is deleted.
        MlflowException: The store does not answer, so that it is unknown whether it has the run.
    """
    store, client = masked(uri or mlflow.get_tracking_uri()), MlflowClient(uri)
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if is_refused(error):
            raise TP1Error(f"no run {run_id} in {store}: copy its id from the tracking UI.") from error
        raise
    if run.info.lifecycle_stage != "active":
        experiment = client.get_experiment(run.info.experiment_id)
        if experiment.lifecycle_stage != "active":
            raise TP1Error(
                f"run {run_id} in {store} is deleted with its MLflow experiment {experiment.name}: restore that "
                f"(MLFLOW_TRACKING_URI={store} mlflow experiments restore --experiment-id {experiment.experiment_id}), "
                "or start a new run."
            )
        raise TP1Error(f"run {run_id} in {store} is deleted: restore it in the tracking UI, or start a new one.")
    return run


def _source(uri: str) -> RunSource:
    if is_database(uri):
        return DatabaseRuns(uri)
    if is_server(uri):
        return ServerRuns(uri)
    raise TP1Error(
        f"runs cannot be read from {masked(uri)}: give a database (sqlite:///mlflow.db) or a server (http://...)."
    )
