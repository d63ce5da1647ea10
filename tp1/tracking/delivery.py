"""Sending a run's outbox to its tracking store; an entry that is sent again is not logged twice."""

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Run, RunTag

from tp1.base.digests import DIGESTS_TAG, as_tag, file_digests
from tp1.base.errors import TP1Error, why
from tp1.store.access import is_refused
from tp1.store.reader import find_run
from tp1.store.runs import PRUNED_TAG
from tp1.tracking.outbox import Entry, Outbox, entry_paths
from tp1.tracking.ownership import held
from tp1.tracking.run_folders import RunFolder, find_folder

CHUNK = 100  # points per call; with more, MLflow's store rejects a model's metrics when they are sent again


def deliver(client: MlflowClient, run_id: str, entry: Entry) -> str | None:
    """Send one entry; return the id of the model in it, or None without a model. A repeated call logs nothing twice."""
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
    """Send the entries in a run's outbox; return the run as the store then has it.

    If the run is then over, finished or pruned, its folder is removed.

    Args:
        patience: Seconds of failing attempts after which to give up.

    Raises:
        TP1Error: Another process owns the run, the store does not have it, or an entry could not be sent.
    """
    client = MlflowClient()
    with held(folder.run_id) as owned:
        run = find_run(folder.run_id)
        if entry_paths(folder.outbox):
            outbox = Outbox(folder.outbox, lambda entry: deliver(client, folder.run_id, entry), is_refused)
            owned.keep_for(outbox.sender)
            if not outbox.close(patience):
                reason = "no answer in time" if outbox.error is None else why(outbox.error)
                raise TP1Error(
                    f"{outbox.waiting} entries of run {folder.run_id} could not be sent ({reason}); they stay in "
                    f"{folder.outbox}."
                )
            run = find_run(folder.run_id)
        if is_over(run):
            folder.remove()
    return run


def is_over(run: Run) -> bool:
    """Whether nothing can go on with the run: it is finished, or was stopped early as a trial of a sweep."""
    return run.info.status == "FINISHED" or PRUNED_TAG in run.data.tags


def is_there(run_id: str) -> bool:
    """Whether the tracking store has the run and it is not deleted.

    Raises:
        MlflowException: The store does not answer.
    """
    try:
        find_run(run_id)
    except TP1Error:
        return False
    return True


def close_run(run_id: str) -> None:
    """Give up a run: mark it KILLED unless it has ended, and remove its folder.

    Raises:
        TP1Error: A process owns the run, its outbox holds entries that the store can accept, or neither the store nor
            this machine has the run.
    """
    folder = find_folder(run_id)
    with held(run_id):
        if folder is not None and entry_paths(folder.outbox) and is_there(run_id):
            raise TP1Error(f"run {run_id} has results that are not sent yet: `tp1 sync` first.")
        try:
            if find_run(run_id).info.status in ("RUNNING", "SCHEDULED"):
                MlflowClient().set_terminated(run_id, "KILLED")
        except TP1Error:  # such as a deleted run: its folder here can still be removed
            if folder is None or not folder.is_of(mlflow.get_tracking_uri()):
                raise
        if folder is not None:
            folder.remove()
