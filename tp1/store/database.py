"""Many runs, and many histories, from a tracking database at once, and only what a comparison needs of each.

MLflow's search makes an object for every metric, parameter and tag, some 85 for each of our runs, and cannot be
asked for less: 10,000 runs take it 12 s of computing and more (docs/LOG.md, 2026-11-24). This reads MLflow's own tables
by MLflow's own definitions of them; a test holds it to what the search returns.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from mlflow.store.db.db_types import DATABASE_ENGINES
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

Point = tuple[str, str, float]  # run id, metric, value


@dataclass(slots=True)
class RawRun:
    """A run as it is stored.

    Attributes:
        start_time, end_time: Milliseconds since 1970, UTC.
        train_images: Images in an epoch; 0 where that is not tracked.
    """

    run_id: str
    mlflow_experiment: str
    name: str
    start_time: int
    end_time: int
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    train_images: int = 0


def is_database(uri: str) -> bool:
    """Whether a tracking store's URI is that of a database."""
    return uri.partition("://")[0].partition("+")[0] in DATABASE_ENGINES


def read_runs(
    uri: str, where: dict[str, str], since: int | None, tags: tuple[str, ...], metrics: tuple[str, ...]
) -> Iterator[RawRun]:
    """Finished training runs (those with a tag ``tp1.model``), newest first.

    Args:
        where: Tags and the values that they must have.
        since: Milliseconds since 1970, UTC: only runs that started then or later.
        tags, metrics: What to read of each; parameters are read whole.
    """
    engine = create_engine(uri)
    try:
        with engine.connect() as connection:
            chosen = _chosen(where, since)
            runs = _read_info(connection, chosen)
            ids: Any = chosen.with_only_columns(SqlRun.run_uuid)
            of_run: Any = SqlTag.run_uuid.in_(ids)
            for run_id, key, value in connection.execute(
                select(SqlTag.run_uuid, SqlTag.key, SqlTag.value).where(SqlTag.key.in_(tags), of_run)
            ):
                runs[run_id].tags[key] = value
            for run_id, key, value in connection.execute(
                select(SqlParam.run_uuid, SqlParam.key, SqlParam.value).where(SqlParam.run_uuid.in_(ids))
            ):
                runs[run_id].params[key] = value
            latest = SqlLatestMetric
            for run_id, key, value, is_nan in connection.execute(
                select(latest.run_uuid, latest.key, latest.value, latest.is_nan).where(
                    latest.key.in_(metrics), latest.run_uuid.in_(ids)
                )
            ):
                runs[run_id].metrics[key] = float("nan") if is_nan else value
            for run_id, profile in connection.execute(_training_profiles(ids)):
                runs[run_id].train_images = images_of(profile)
    finally:
        engine.dispose()
    yield from runs.values()


def read_points(uri: str, run_ids: Sequence[str], metrics: Sequence[str]) -> Iterator[Point]:
    """Every logged value of these metrics of these runs, by step."""
    engine = create_engine(uri)
    columns = (SqlMetric.run_uuid, SqlMetric.key, SqlMetric.value, SqlMetric.is_nan)
    query: Any = (
        select(*columns)
        .where(SqlMetric.run_uuid.in_(run_ids), SqlMetric.key.in_(metrics))
        .order_by(SqlMetric.step, SqlMetric.timestamp)
    )
    try:
        with engine.connect() as connection:
            for run_id, key, value, is_nan in connection.execute(query):
                yield run_id, key, float("nan") if is_nan else value
    finally:
        engine.dispose()


@lru_cache(maxsize=256)
def images_of(profile: str | None) -> int:
    """The number of images in the profile of an MLflow data set of arrays; 0 where it does not say."""
    try:
        return int(json.loads(profile or "")["features_shape"][0])
    except (ValueError, KeyError, TypeError, IndexError, OverflowError):
        return 0


def _chosen(where: dict[str, str], since: int | None) -> Select[tuple[SqlRun]]:
    conditions: list[Any] = [
        SqlRun.status == "FINISHED",
        SqlRun.lifecycle_stage == "active",
        SqlExperiment.lifecycle_stage == "active",
    ]
    if since is not None:
        conditions.append(SqlRun.start_time >= since)
    query = select(SqlRun).join(SqlExperiment, SqlExperiment.experiment_id == SqlRun.experiment_id)
    model = aliased(SqlTag)
    query = query.join(model, (model.run_uuid == SqlRun.run_uuid) & (model.key == "tp1.model"))
    for key, value in where.items():
        tag = aliased(SqlTag)
        query = query.join(tag, (tag.run_uuid == SqlRun.run_uuid) & (tag.key == key) & (tag.value == value))
    return query.where(*conditions)


def _read_info(connection: Connection, chosen: Select[tuple[SqlRun]]) -> dict[str, RawRun]:
    columns = (SqlRun.run_uuid, SqlRun.experiment_id, SqlRun.name, SqlRun.start_time, SqlRun.end_time)
    query: Any = chosen.with_only_columns(*columns).order_by(SqlRun.start_time.desc(), SqlRun.run_uuid)
    return {
        run_id: RawRun(run_id, str(experiment), name, start, end)
        for run_id, experiment, name, start, end in connection.execute(query)
    }


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
