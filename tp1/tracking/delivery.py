"""From a run's outbox to its tracking store: each entry once, however often it is sent."""

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Run, RunTag

from tp1.base.digests import DIGESTS_TAG, as_tag, file_digests
from tp1.base.errors import TP1Error
from tp1.store.access import is_refused
from tp1.store.addresses import masked
from tp1.store.reader import find_run
from tp1.tracking.outbox import Entry, Outbox, entry_paths
from tp1.tracking.ownership import held
from tp1.tracking.run_folders import RunFolder, find_folder

CHUNK = 100  # points in a call: of more, MLflow's store does not take a model's a second time


def deliver(client: MlflowClient, run_id: str, entry: Entry) -> str | None:
    """Send one entry, once however often it is called; return the id of the model in it, if there is one."""
    model_id, tags = None, dict(entry.tags)
    if entry.folder is not None and (model := entry.folder / "model").is_dir():
        from tp1.tracking.model_files import send_model

        model_id = send_model(client, run_id, model)
        tags[DIGESTS_TAG] = as_tag(file_digests(model))
    metrics = [
        Metric(
            point.name,
            point.value,
            point.time,
            point.step,
            model_id=model_id if point.of_model else None,
            dataset_name=point.dataset[0] if point.dataset else None,
            dataset_digest=point.dataset[1] if point.dataset else None,
            run_id=run_id,
        )
        for point in entry.points
    ]
    for start in range(0, len(metrics), CHUNK):
        client.log_batch(run_id, metrics=metrics[start : start + CHUNK])
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    if entry.folder is not None and (files := entry.folder / "files").is_dir():
        client.log_artifacts(run_id, str(files))
    if entry.status is not None:
        client.set_terminated(run_id, entry.status, entry.end_time)
    return model_id


def send_waiting(folder: RunFolder, patience: float) -> Run:
    """Send what a run still has to tell, and return the run as its store has it then.

    The folder of a run that is finished is removed.

    Raises:
        TP1Error: The store does not have the run, or does not take all.
    """
    client = MlflowClient()
    with held(folder.run_id):
        run = find_run(folder.run_id)
        if entry_paths(folder.outbox):
            outbox = Outbox(folder.outbox, lambda entry: deliver(client, folder.run_id, entry), is_refused)
            if not outbox.close(patience):
                reason = (str(outbox.error).splitlines() or [""])[0]
                raise TP1Error(
                    f"{outbox.waiting} entries of run {folder.run_id} could not be sent ({reason}); they stay in "
                    f"{folder.outbox}."
                )
            run = find_run(folder.run_id)
        if run.info.status == "FINISHED":
            folder.remove()
    return run


def is_there(run_id: str) -> bool:
    """Whether the tracking store has a run, not deleted."""
    try:
        find_run(run_id)
    except TP1Error:
        return False
    return True


def close_run(run_id: str) -> None:
    """Give up a run that no process is at work on: KILLED unless it has ended, its folder removed.

    Raises:
        TP1Error: A process is at work on it, it has something to send that the store can take, or neither the store
            nor this machine knows it.
    """
    folder = find_folder(run_id)
    with held(run_id):
        if folder is not None and entry_paths(folder.outbox) and is_there(run_id):
            raise TP1Error(f"run {run_id} has results that are not sent yet: `tp1 sync` first.")
        try:
            if find_run(run_id).info.status in ("RUNNING", "SCHEDULED"):
                MlflowClient().set_terminated(run_id, "KILLED")
        except TP1Error:  # deleted, say: what this machine keeps of it can still go
            if folder is None or folder.store() != masked(mlflow.get_tracking_uri()):
                raise
        if folder is not None:
            folder.remove()
