"""Finished runs in a real tracking store, as training leaves them, without the training."""

import json
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from sklearn.metrics import classification_report

from tests.support.catalog import catalog
from tp1.experiment import Experiment, experiments_of
from tp1.report.mistakes import mistakes_file, surest_mistakes
from tp1.training.evaluation import Evaluation

CLASSES = ["cat", "dog", "owl"]
COUNT = 60  # test images


def experiment_of(label: str) -> Experiment:
    """``cnnv3``, or ``cnnv3-c2``."""
    for entry in catalog():
        for experiment in experiments_of(entry):
            if experiment.label == label:
                return experiment
    raise KeyError(label)


def make_run(
    label: str = "cnnv3",
    seed: int = 0,
    *,
    accuracy: float = 0.8,
    name: str | None = None,
    dataset: str = "cifar10",
    split: str = "split",
    start: int = 1_700_000_000_000,
    mlflow_experiment: str = "0",
    without: tuple[str, ...] = (),
    **changed: object,
) -> str:
    """Write one finished run; return its id.

    Args:
        accuracy: Of test, and of validation in the last and best of two epochs.
        without: Metrics and files that are left out.
        changed: Parameters that differ from the experiment's defaults.
    """
    experiment = experiment_of(label)
    client = MlflowClient()
    config = {key: str(value) for key, value in experiment.config.flat().items() if value is not None}
    params = config | {"image_size": "32", "seed": str(seed), "model_parameters": "1234", "processor": "CPU, 2 threads"}
    params |= {"dataset": dataset} | {key: str(value) for key, value in changed.items()}
    tags = {
        "tp1.experiment": experiment.name,
        "tp1.configuration": experiment.configuration,
        "tp1.model": experiment.model_name,
        "tp1.dataset": dataset,
        "tp1.seed": str(seed),
        "tp1.data_digest": "data",
        "tp1.split_digest": split,
    }
    run = client.create_run(mlflow_experiment, start, tags, name or f"{experiment.label}-s{seed}")
    run_id = run.info.run_id
    points = {
        "train/loss": [1.0, 0.5],
        "train/accuracy": [0.5, accuracy],
        "val/loss": [1.1, 0.6],
        "val/accuracy": [0.5, accuracy],
        "train/images_per_second": [900.0, 1000.0],
        "best/epoch": [2.0],
        "best/val_accuracy": [accuracy],
        "best/val_loss": [0.6],
        "test/loss": [0.6],
        **{f"test/{key}": [accuracy] for key in ("accuracy", "precision_macro", "recall_macro", "f1_macro")},
    }
    metrics = [
        Metric(key, value, start, step)
        for key, values in points.items()
        if key not in without
        for step, value in enumerate(values, start=1)
    ]
    client.log_batch(run_id, metrics=metrics, params=[Param(key, value) for key, value in params.items()])
    with tempfile.TemporaryDirectory() as folder:
        for file, content in _files(experiment, accuracy, seed).items():
            if file not in without:
                (Path(folder) / file).write_bytes(content)
        client.log_artifacts(run_id, folder)
    client.set_terminated(run_id, "FINISHED", start + 60_000)
    return run_id


def predictions(accuracy: float, seed: int = 0) -> pd.DataFrame:
    """``predictions.parquet`` of :data:`COUNT` images, of which a share is right."""
    generator = np.random.default_rng(seed)
    true = np.arange(COUNT) % len(CLASSES)
    wrong = generator.permutation(COUNT) >= round(accuracy * COUNT)
    predicted = np.where(wrong, (true + 1) % len(CLASSES), true)
    table = pd.DataFrame({"index": np.arange(COUNT), "true": true, "predicted": predicted})
    probabilities = np.eye(len(CLASSES), dtype=np.float32)[predicted]
    return pd.concat([table, pd.DataFrame(probabilities, columns=CLASSES)], axis=1)


@cache
def mistakes() -> bytes:
    """``mistakes.parquet`` of a run that takes half of its images for another class."""
    true = np.arange(COUNT) % len(CLASSES)
    probabilities = np.eye(len(CLASSES), dtype=np.float32)[(true + true % 2) % len(CLASSES)]
    evaluation = Evaluation(tuple(CLASSES), np.arange(COUNT), true, probabilities, 1.0)
    images = np.random.default_rng(0).integers(0, 255, (COUNT, 8, 8, 3), np.uint8)
    return mistakes_file(surest_mistakes(evaluation, images))


def _files(experiment: Experiment, accuracy: float, seed: int) -> dict[str, bytes]:
    table = predictions(accuracy, seed)
    report = classification_report(
        table["true"], table["predicted"], target_names=CLASSES, output_dict=True, zero_division=0
    )
    counts = pd.crosstab(table["true"], table["predicted"]).reindex(index=range(3), columns=range(3), fill_value=0)
    counts.index, counts.columns = pd.Index(CLASSES, name="true"), pd.Index(CLASSES)
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        table.to_parquet(file.name, index=False)
        parquet = Path(file.name).read_bytes()
    return {
        "classification_report.csv": b"class,precision\n",
        "classification_report.json": json.dumps(report).encode(),
        "classification_report.txt": b"precision\n",
        "confusion_matrix.csv": counts.to_csv(index_label="true").encode(),
        "config.json": json.dumps({"command": f"mlflow run . -e {experiment.name}"}).encode(),
        "environment.txt": b"# Python\n",
        "mistakes.parquet": mistakes(),
        "model_summary.txt": b"parameters: 1,234\n",
        "predictions.parquet": parquet,
    }
