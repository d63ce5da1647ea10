"""A real `mlflow run`, and everything that the design promises about the run that it leaves."""

import json
import shutil
import subprocess

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient

from tests.conftest import PROJECT
from tests.support.project_runs import mlflow_run

CLASSES = [str(digit) for digit in range(10)]
ARTIFACTS = {
    "classification_report.txt",
    "classification_report.json",
    "classification_report.csv",
    "confusion_matrix.png",
    "confusion_matrix.csv",
    "curves.png",
    "model_summary.txt",
    "predictions.parquet",
    "config.json",
    "environment.txt",
    "mistakes.parquet",
    "mistakes.png",
}
TAGS = {
    "tp1.experiment",
    "tp1.dataset",
    "tp1.model",
    "tp1.seed",
    "tp1.data_digest",
    "tp1.split_digest",
    "tp1.git_commit",
    "tp1.git_dirty",
    "mlflow.note.content",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow-run")
    parameters = ("dataset=digits", "epochs=3", "learning-rate=2e-3", "seed=4", "augment=flip-crop")
    result, runs = mlflow_run(folder, "-e", "cnnv3", *(part for p in parameters for part in ("-P", p)))
    assert result.returncode == 0, result.stderr
    (run,) = runs
    return folder, run, result


@pytest.fixture
def run(finished, monkeypatch):
    folder, run, _ = finished
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    return run


def test_the_run_is_finished_and_named(run):
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "cnnv3-s4"


def test_every_parameter_is_logged_with_what_was_given(run):
    params = run.data.params
    assert params["learning-rate"] == "2e-3"  # as MLflow stored it
    assert float(params["learning_rate"]) == 2e-3
    assert (params["epochs"], params["seed"], params["augment"], params["dataset"]) == ("3", "4", "flip-crop", "digits")
    assert (params["dropout"], params["weight_decay"], params["batch_size"]) == ("0.5", "0.0001", "64")
    assert params["precision"] in ("fp32", "bf16")
    assert {"device", "image_size", "normalisation_mean", "normalisation_std", "processor"} <= params.keys()


def test_every_epoch_is_a_step(run):
    for name in ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "train/images_per_second"):
        assert [point.step for point in MlflowClient().get_metric_history(run.info.run_id, name)] == [1, 2, 3]


def test_final_metrics_are_complete(run):
    averages = {f"test/{name}_{average}" for name in ("precision", "recall", "f1") for average in ("macro", "weighted")}
    per_class = {f"test/{name}/{label}" for name in ("precision", "recall", "f1") for label in CLASSES}
    assert {"test/accuracy", "test/loss"} | averages | per_class <= run.data.metrics.keys()


def test_tags_are_complete(run):
    tags = run.data.tags
    assert tags.keys() >= TAGS
    assert (tags["tp1.experiment"], tags["tp1.model"], tags["tp1.dataset"]) == ("cnnv3", "cnnv3", "digits")
    assert tags["tp1.data_digest"] == "e60959b0c92db55b"
    assert "mlflow run . -e cnnv3 -P dataset=digits" in tags["mlflow.note.content"]
    assert "published" not in tags["mlflow.note.content"]  # nothing is, for digits


def test_artifacts_are_complete(run):
    assert {item.path for item in MlflowClient().list_artifacts(run.info.run_id)} == ARTIFACTS


def test_system_metrics_are_collected(run):
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= run.data.metrics.keys()


def test_data_sets_are_inputs_with_digests(run):
    inputs = {item.tags[0].value: item.dataset for item in run.inputs.dataset_inputs}
    assert set(inputs) == {"training", "validation", "testing"}
    assert len({dataset.digest for dataset in inputs.values()}) == 3
    assert "1259" in inputs["training"].profile


def test_final_metrics_are_linked_to_model_and_data(run):
    (output,) = run.outputs.model_outputs
    model = MlflowClient().get_logged_model(output.model_id)
    linked = {metric.key: metric for metric in model.metrics}
    assert linked["test/accuracy"].value == run.data.metrics["test/accuracy"]
    assert linked["test/accuracy"].dataset_name == "digits-test"
    assert linked["best/val_accuracy"].dataset_name == "digits-val"


def test_predictions_are_those_of_the_logged_model(run, tmp_path):
    from tp1.data.dataset import load_data

    path = MlflowClient().download_artifacts(run.info.run_id, "predictions.parquet", str(tmp_path))
    table = pd.read_parquet(path)
    assert list(table.columns) == ["index", "true", "predicted", *CLASSES]
    test = load_data("digits").test
    assert table["index"].tolist() == test.index.tolist()
    (output,) = run.outputs.model_outputs
    probabilities = mlflow.pyfunc.load_model(f"models:/{output.model_id}").predict(test.images)
    assert (probabilities.argmax(axis=1) == table["predicted"]).all()
    assert (probabilities.argmax(axis=1) == test.labels).mean() == run.data.metrics["test/accuracy"]


def test_the_report_is_the_same_in_all_forms(run):
    report = json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/classification_report.json"))
    table = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/classification_report.csv").splitlines()
    assert table[0] == "class,precision,recall,f1-score,support"
    assert float(table[1].split(",")[1]) == report["0"]["precision"] == run.data.metrics["test/precision/0"]


def test_no_bar_and_no_chatter_where_there_is_no_terminal(finished):
    _, _, result = finished
    assert "epoch 3/3  train loss" in result.stdout
    assert "Test accuracy" in result.stdout
    assert "%|" not in result.stderr
    assert "Warning" not in result.stderr


@pytest.mark.long
def test_what_a_clone_of_a_git_address_writes_is_where_the_user_is(tmp_path, monkeypatch):
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in names.stdout.splitlines():
        (tmp_path / "repository" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, tmp_path / "repository" / name)
    for command in (("init",), ("add", "--all"), ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-m", "x")):
        subprocess.run(["git", *command], cwd=tmp_path / "repository", capture_output=True, check=True)
    (tmp_path / "user").mkdir()
    address = "https://git.invalid/tp1"  # git takes the repository for it; mlflow would not clone one that is here
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.file://{tmp_path}/repository.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", address)
    result, runs = mlflow_run(tmp_path / "user", "-e", "report", "-P", "to=page", project=address)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "user" / "page" / "report.html").is_file()
    assert [run.info.status for run in runs] == ["FINISHED"]


@pytest.mark.long
def test_a_failure_reaches_mlflow_run(tmp_path):
    result, runs = mlflow_run(tmp_path, "-e", "cnnv3", "-P", "dataset=digits", "-P", "dropout=1.5")
    assert result.returncode == 1
    assert "Error: dropout=1.5 is out of range" in result.stderr
    assert "Traceback" not in result.stderr
    (run,) = runs
    assert run.info.status == "FAILED"
    assert run.info.run_name == "cnnv3"
    assert [item.path for item in MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").list_artifacts(run.info.run_id)] == [
        "error.txt"
    ]
