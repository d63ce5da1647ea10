"""Runs whose results wait to be sent, as an outage leaves them."""

import mlflow
from mlflow import MlflowClient

from tests.support.made_runs import experiment_of
from tp1.store.addresses import masked
from tp1.tracking.outbox import Entry, Outbox, Point
from tp1.tracking.run_folders import Plan, RunFolder, create_folder


def waiting_run(mlflow_experiment: str = "0") -> RunFolder:
    """A run in the store in use with a point and its end in its outbox."""
    run_id = MlflowClient().create_run(mlflow_experiment, tags={"tp1.experiment": "cnn-base"}).info.run_id
    plan = Plan("cnn-base", "", experiment_of("cnn-base").config, "")
    folder = create_folder(run_id, plan, masked(mlflow.get_tracking_uri()))
    outbox = Outbox(folder.outbox, refuse, lambda error: True)
    outbox.put(Entry([Point("a", 1.0, 1_700_000_000_000)]))
    outbox.put(Entry(status="FINISHED", end_time=1_700_000_001_000))
    outbox.close(patience=0)
    return folder


def refuse(entry: Entry) -> None:
    raise OSError("away")
