"""Writing a record of a run from elsewhere to the tracking store."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.entities import Dataset, Metric, Param

from tp1.store.records import RunRecord
from tp1.store.runs import PRUNED_TAG
from tp1.tracking.datasets import dataset_input
from tp1.tracking.every_run import mark_experiment, new_run_experiment

VALUES = 1000  # metric values per call, MLflow's limit


def write_record(record: RunRecord, files: Mapping[str, bytes], tags: Mapping[str, str]) -> str:
    """Write a record to the tracking store as a run with the original times; return its new id.

    If anything fails, the new run is deleted and the error is raised again.

    Args:
        files: Further artifacts by name, such as figures, which records do not contain.
        tags: Further tags, set after everything else is logged.
    """
    client = MlflowClient()
    experiment_id = new_run_experiment()
    mark_experiment(experiment_id)
    run = client.create_run(experiment_id, record.start_time, dict(record.tags), record.name)
    run_id: str = run.info.run_id
    try:
        params = [Param(key, value) for key, value in record.params.items()]
        points = [
            Metric(key, value, time, step) for key, series in record.metrics.items() for step, time, value in series
        ]
        client.log_batch(run_id, params=params)
        for start in range(0, len(points), VALUES):
            client.log_batch(run_id, metrics=points[start : start + VALUES])
        datasets = [
            dataset_input(
                Dataset(
                    **{key: entry[key] for key in ("name", "digest", "source_type", "source", "schema", "profile")}
                ),
                entry["context"],
            )
            for entry in record.datasets
        ]
        client.log_inputs(run_id, datasets=datasets)
        with TemporaryDirectory() as name:
            for file, content in {**record.files, **files}.items():
                (Path(name) / file).write_bytes(content)
            client.log_artifacts(run_id, name)
        for key, value in tags.items():
            client.set_tag(run_id, key, value)
        client.set_terminated(run_id, "KILLED" if PRUNED_TAG in record.tags else "FINISHED", record.end_time)
    except BaseException:
        client.delete_run(run_id)
        raise
    return run_id
