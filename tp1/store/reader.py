"""Reading runs from a tracking store, a database or a server alike."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from tp1.base.errors import TP1Error
from tp1.store.access import is_refused
from tp1.store.addresses import is_database, is_server, masked
from tp1.store.database import DatabaseRuns
from tp1.store.runs import MIGRATED_TAG, MODEL_TAG, REFERENCE_TAG, RunQuery, RunSource, TrackedRun
from tp1.store.server import ServerRuns


class RunReader:
    """Reads runs from a tracking store.

    Args:
        uri: Of the store; None: the one in use.

    Raises:
        TP1Error: It is neither a database nor a server.
    """

    def __init__(self, uri: str | None = None) -> None:
        self.uri = uri or mlflow.get_tracking_uri()
        self._source = _source(self.uri)
        self._client = MlflowClient(self.uri)

    def find_runs(
        self, experiment: str | None = None, dataset: str | None = None, since: int | None = None
    ) -> Iterator[TrackedRun]:
        """Finished training runs in all MLflow experiments of the tracking store, newest first.

        Args:
            experiment: Tag ``tp1.experiment``.
            dataset: Tag ``tp1.dataset``.
            since: Milliseconds since 1970, UTC: only runs that started then or later.
        """
        given = {"tp1.experiment": experiment, "tp1.dataset": dataset}
        tags = {tag: value for tag, value in given.items() if value is not None}
        return self._source.find(RunQuery(status="FINISHED", has=MODEL_TAG, tags=tags, since=since))

    def find_looks(self) -> dict[str, str]:
        """The newest finished ``eda`` run of each data set: run id by name."""
        found: dict[str, str] = {}
        for run in self._source.find(RunQuery(status="FINISHED", tags={"tp1.experiment": "eda"})):
            if run.dataset:
                found.setdefault(run.dataset, run.run_id)
        return found

    def find_started(self, run_ids: Sequence[str]) -> list[TrackedRun]:
        """The runs that say they are running, and those of ``run_ids`` that are there; newest first."""
        queries = (RunQuery(status="RUNNING", has="tp1.experiment"), RunQuery(run_ids=run_ids))
        found = {run.run_id: run for query in queries for run in self._source.find(query)}
        return sorted(found.values(), key=lambda run: run.start_time, reverse=True)

    def find_copy(self, run_id: str) -> str | None:
        """The id under which the store has run ``run_id``: its own, or that of a reference or a copy made from it."""
        for query in (
            RunQuery(run_ids=[run_id]),
            RunQuery(tags={REFERENCE_TAG: run_id}),
            RunQuery(tags={MIGRATED_TAG: run_id}),
        ):
            if (run := next(self._source.find(query), None)) is not None:
                return run.run_id
        return None

    def read_histories(self, run_ids: Sequence[str], metrics: Sequence[str]) -> dict[str, dict[str, list[float]]]:
        """The values of metrics by step, by run and metric; an empty list where a run has none."""
        histories: dict[str, dict[str, list[float]]] = {run_id: {name: [] for name in metrics} for run_id in run_ids}
        for run_id, name, value in self._source.histories(run_ids, metrics):
            histories[run_id][name].append(value)
        return histories

    def read_file(self, run_id: str, name: str) -> bytes:
        """An artifact of a run.

        Raises:
            TP1Error: The run has no such artifact.
        """
        with TemporaryDirectory() as folder:
            try:
                return Path(self._client.download_artifacts(run_id, name, folder)).read_bytes()
            except (MlflowException, OSError) as error:
                raise TP1Error(
                    f"run {run_id} has no artifact {name}: it was not logged whole; run it again, and delete this one."
                ) from error


def find_run(run_id: str) -> Run:
    """A run of the tracking store in use, with all that MLflow knows of it.

    Raises:
        TP1Error: The store does not have it, or it is deleted.
        MlflowException: The store does not answer, so that nothing is known of it.
    """
    store = masked(mlflow.get_tracking_uri())
    try:
        run = MlflowClient().get_run(run_id)
    except MlflowException as error:
        if is_refused(error):
            raise TP1Error(f"no run {run_id} in {store}: copy its id from the tracking UI.") from error
        raise
    if run.info.lifecycle_stage != "active":
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
