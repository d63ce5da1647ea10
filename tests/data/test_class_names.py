"""Class names are kept as they are; where metrics and tables cannot take them, one rule makes others, all different."""

import json

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient

from tests.conftest import EUROSAT_CLASSES, all_runs, invoke, write_folder
from tp1.data.class_names import label_names, metric_names
from tp1.report.run_figures import read_distribution

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.mark.parametrize("classes", [CIFAR10_CLASSES, EUROSAT_CLASSES, tuple("0123456789"), ("rã-verde 2.0", "a_b")])
def test_names_that_metrics_can_take_are_kept(classes):
    assert metric_names(classes) == label_names(classes) == classes


@pytest.mark.parametrize(
    ("classes", "metrics"),
    [
        (("Corn_(maize)___healthy", "Pepper,_bell"), ("Corn__maize____healthy", "Pepper__bell")),
        (("C+", "C-", "C_", "C*"), ("C__2", "C-", "C_", "C__3")),
        (("e\u0301", "\u00e9"), ("\u00e9_2", "\u00e9")),
        (("x" * 250, "x" * 251), ("x" * 200, "x" * 200 + "_2")),
        (("Ram C/V", "🐈", "🐕"), ("Ram C_V", "_", "__2")),
    ],
)
def test_other_names_are_made_safe_and_numbered(classes, metrics):
    assert metric_names(classes) == metrics


def test_names_of_columns_are_not_taken_by_classes():
    assert label_names(("true", "false", "class true")) == ("class true_2", "false", "class true")


@pytest.mark.long
def test_a_run_on_classes_of_any_name_has_all_its_figures(store, tmp_path):
    classes = ["50% off", "NA", "true"]
    write_folder(tmp_path / "set", per_class=12)
    for name, given in zip("abc", classes, strict=True):
        (tmp_path / "set" / name).rename(tmp_path / "set" / given)
    result = invoke("cnn-base", f"dataset={tmp_path / 'set'}", "epochs=1", "batch_size=8")
    assert result.exit_code == 0, result.stderr
    (run,) = all_runs()
    read = MlflowClient().download_artifacts
    config = json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/config.json"))
    assert dict(zip(config["classes"], config["metric_names"], strict=True)) == {
        "50% off": "50_ off",
        "NA": "NA",
        "true": "true",
    }
    assert {f"test/f1/{name}" for name in config["metric_names"]} <= run.data.metrics.keys()
    assert run.data.metrics["test/balanced_accuracy"] == run.data.metrics["test/recall_macro"]
    table = pd.read_parquet(read(run.info.run_id, "predictions.parquet", str(tmp_path)))
    assert list(table.columns) == ["index", "true", "predicted", "50% off", "NA", "class true"]
    assert invoke("promote", f"dataset={tmp_path / 'set'}").exit_code == 0
    assert invoke("eda", f"dataset={tmp_path / 'set'}").exit_code == 0
    (look,) = (run for run in all_runs() if run.data.tags["tp1.experiment"] == "eda")
    counts = mlflow.artifacts.load_text(f"{look.info.artifact_uri}/class_distribution.csv").encode()
    assert list(read_distribution(counts).index) == classes
