"""Reading runs from a tracking database: many at once, and only the needed columns.

MLflow's search creates an object for every metric, parameter and tag, some 85 for each of our runs, and cannot return
less: 10,000 runs take 12 s of computing or more (docs/LOG.md, 2026-11-24). This module queries MLflow's own tables,
through MLflow's own definitions of them. A test compares the result with what a server's search returns.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mlflow.store.tracking.dbmodels.models import (
    SqlDataset,
    SqlExperiment,
    SqlInput,
    SqlInputTag,
    SqlLatestMetric,
    SqlMetric,
    SqlParam,
    SqlRun,
    SqlTag,
)
from sqlalchemy import Connection, Select, create_engine, select
from sqlalchemy.orm import aliased

from tp1.store.runs import READ_METRICS, READ_TAGS, MetricValue, RunQuery, TrackedRun, readable, shape_of


class DatabaseRuns:
    """The runs in a database (a :class:`~tp1.store.runs.RunSource`).

    Args:
        uri: URI of the database, after :func:`~tp1.store.prepare.prepare_store`.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def find(self, query: RunQuery) -> Iterator[TrackedRun]:
        """Yield the runs that match a query, newest first."""
        with self._connection() as connection:
            chosen = _chosen(query)
            info: Any = chosen.with_only_columns(
                *(SqlRun.run_uuid, SqlRun.experiment_id, SqlRun.name, SqlRun.status),
                *(SqlRun.start_time, SqlRun.end_time),
            ).order_by(SqlRun.start_time.desc(), SqlRun.run_uuid)
            rows = connection.execute(info).all()
            ids: Any = chosen.with_only_columns(SqlRun.run_uuid)
            of_run: Any = SqlTag.run_uuid.in_(ids)
            tags = _by_run(
                connection,
                select(SqlTag.run_uuid, SqlTag.key, SqlTag.value).where(SqlTag.key.in_(READ_TAGS), of_run),
            )
            params = _by_run(
                connection,
                select(SqlParam.run_uuid, SqlParam.key, SqlParam.value).where(SqlParam.run_uuid.in_(ids)),
            )
            latest = SqlLatestMetric
            metrics: dict[str, dict[str, float]] = defaultdict(dict)
            for run_id, key, value, is_nan in connection.execute(
                select(latest.run_uuid, latest.key, latest.value, latest.is_nan).where(
                    latest.key.in_(READ_METRICS), latest.run_uuid.in_(ids)
                )
            ):
                metrics[run_id][key] = float("nan") if is_nan else value
            shapes = {run_id: shape_of(profile) for run_id, profile in connection.execute(_training_profiles(ids))}
        for run_id, experiment, raw_name, status, start, end in rows:
            name, its_params = readable(raw_name, params[run_id])
            count, side = shapes.get(run_id, (0, 0))
            yield TrackedRun(
                run_id=run_id,
                mlflow_experiment=str(experiment),
                name=name,
                status=status,
                start_time=start,
                end_time=end or 0,
                tags=tags[run_id],
                params=its_params,
                metrics=metrics[run_id],
                train_images=count,
                image_side=side,
            )

    def histories(self, run_ids: Sequence[str], metrics: Sequence[str]) -> Iterator[MetricValue]:
        """Yield every logged value of these metrics of these runs, by step."""
        columns = (SqlMetric.run_uuid, SqlMetric.key, SqlMetric.value, SqlMetric.is_nan)
        query: Any = (
            select(*columns)
            .where(SqlMetric.run_uuid.in_(run_ids), SqlMetric.key.in_(metrics))
            .order_by(SqlMetric.step, SqlMetric.timestamp)
        )
        with self._connection() as connection:
            for run_id, key, value, is_nan in connection.execute(query):
                yield run_id, key, float("nan") if is_nan else value

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        engine = create_engine(self.uri)
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()


def _by_run(connection: Connection, query: Any) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for run_id, key, value in connection.execute(query):
        found[run_id][key] = value
    return found


def _chosen(query: RunQuery) -> Select[tuple[SqlRun]]:
    conditions: list[Any] = [SqlRun.lifecycle_stage == "active", SqlExperiment.lifecycle_stage == "active"]
    if query.status is not None:
        conditions.append(SqlRun.status == query.status)
    if query.since is not None:
        conditions.append(SqlRun.start_time >= query.since)
    if query.run_ids is not None:
        conditions.append(SqlRun.run_uuid.in_(query.run_ids))
    chosen = select(SqlRun).join(SqlExperiment, SqlExperiment.experiment_id == SqlRun.experiment_id)
    if query.has is not None:
        tag = aliased(SqlTag)
        chosen = chosen.join(tag, (tag.run_uuid == SqlRun.run_uuid) & (tag.key == query.has))
    for key, value in query.tags.items():
        tag = aliased(SqlTag)
        chosen = chosen.join(tag, (tag.run_uuid == SqlRun.run_uuid) & (tag.key == key) & (tag.value == value))
    return chosen.where(*conditions)


def _training_profiles(ids: Any) -> Any:
    return (
        select(SqlInput.destination_id, SqlDataset.dataset_profile)
        .join(SqlDataset, SqlInput.source_id == SqlDataset.dataset_uuid)
        .join(SqlInputTag, SqlInputTag.input_uuid == SqlInput.input_uuid)
        .where(
            SqlInput.destination_type == "RUN",
            SqlInput.destination_id.in_(ids),
            SqlInputTag.name == "mlflow.data.context",
            SqlInputTag.value == "training",
        )
    )
