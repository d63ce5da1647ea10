"""A person's tracking store with one of everything, and what of it a copy must have."""

from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, Metric
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from tests.conftest import invoke
from tests.support.made_runs import make_run
from tp1.base.digests import file_digests
from tp1.store.runs import MIGRATED_TAG

NAME = "tp1-digits"


def make_store(*, trained: bool = True) -> None:
    """Fill the store in use: trained, promoted, nested, failed, running and deleted runs; two versions, two aliases."""
    client = MlflowClient()
    if trained:
        invoke("cnn-base", "dataset=digits", "epochs=1")
        invoke("promote", "dataset=digits")
    elsewhere = client.create_experiment("elsewhere", tags={"mlflow.note.content": "what it is"})
    parent = make_run("cnnv2", seed=1, start=1_600_000_000_000, mlflow_experiment=elsewhere)
    child = make_run("cnnv2", seed=2, start=1_600_000_000_001, mlflow_experiment=elsewhere)
    client.set_tag(child, "mlflow.parentRunId", parent)
    client.log_metric(child, "val/loss", float("nan"), timestamp=7, step=9)
    for start in (0, 1000):
        client.log_batch(child, [Metric("long", n / 3, n, n) for n in range(start, start + 1000)])
    failed = client.create_run("0", start_time=5, run_name="failed")
    client.log_text(failed.info.run_id, "why", "deep/er/error.txt")
    client.set_terminated(failed.info.run_id, "FAILED", end_time=9)
    client.create_run("0", run_name="running")
    client.delete_run(make_run("cnnv3", seed=8))
    if not trained:
        client.create_registered_model(NAME)
    _add_version(client, child, replaced="1" if trained else "")
    client.set_registered_model_alias(NAME, "champion", "2" if trained else "1")
    client.set_registered_model_alias(NAME, "challenger", "1")


def _add_version(client, run_id, replaced=""):
    """A second version, of a model that a run of another experiment logged without saying so."""
    run = client.get_run(run_id)
    model = client.create_logged_model(run.info.experiment_id, "model", source_run_id=run_id, params={"a": "b"})
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 3)])
    client.log_batch(run_id, [Metric("linked", 0.5, 7, 1, model_id=model.model_id)])
    with TemporaryDirectory() as folder:
        (Path(folder) / "MLmodel").write_text(f"model_id: {model.model_id}\n")
        (Path(folder) / "data").mkdir()
        (Path(folder) / "data" / "weights").write_bytes(bytes(1000))
        client.log_model_artifacts(model.model_id, folder)
    client.finalize_logged_model(model.model_id, "READY")
    tags = {"tp1.replaced": replaced, "tp1.against": replaced, "tp1.run_id": run_id}
    client.create_model_version(NAME, f"models:/{model.model_id}", run_id, tags, model_id=model.model_id)


def seen(uri, only_copies=False):
    """All that runs are but their ids, by the id of the first of them."""
    client = MlflowClient(uri, uri)
    found = {}
    for experiment in client.search_experiments():
        for found_run in client.search_runs([experiment.experiment_id]):
            run = client.get_run(found_run.info.run_id)  # a search leaves out the models that are inputs
            tags = dict(run.data.tags)
            origin = tags.pop(MIGRATED_TAG, run.info.run_id)
            tags.pop("mlflow.parentRunId", None)
            if only_copies and origin == run.info.run_id:
                continue
            models = run.outputs.model_outputs if run.outputs else []
            found[origin] = {
                "experiment": experiment.name,
                "info": (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time, run.info.user_id),
                "tags": tags,
                "params": run.data.params,
                "histories": {
                    key: [repr((p.value, p.step, p.timestamp)) for p in client.get_metric_history(run.info.run_id, key)]
                    for key in run.data.metrics
                },
                "inputs": [
                    (item.dataset.to_dictionary(), [(tag.key, tag.value) for tag in item.tags])
                    for item in (run.inputs.dataset_inputs if run.inputs else [])
                ],
                "models": [_model(client, output.model_id) for output in models],
                "steps": [output.step for output in models],
                "measured": [
                    _model(client, used.model_id) for used in ((run.inputs.model_inputs or []) if run.inputs else [])
                ],
                "files": _files(client, run.info.run_id),
            }
    return found


def _model(client, model_id):
    model = client.get_logged_model(model_id)
    tags = {key: value for key, value in model.tags.items() if key not in (MIGRATED_TAG, "mlflow.modelVersions")}
    metrics = sorted(
        repr((m.key, m.value, m.step, m.timestamp, m.dataset_name, m.dataset_digest)) for m in model.metrics or []
    )
    with TemporaryDirectory() as folder:
        files = get_artifact_repository(model.artifact_location, tracking_uri=client.tracking_uri)
        fetched = files.download_artifacts("", folder)
        digests = file_digests(Path(fetched))
    return digests, model.name, str(model.status), model.model_type or "", tags, model.params, metrics


def _files(client, run_id, folder=""):
    found = {}
    for entry in client.list_artifacts(run_id, folder):
        found |= _files(client, run_id, entry.path) if entry.is_dir else {entry.path: entry.file_size}
    return found
