"""A thousand classes: evaluation, metrics and figures stay bounded, and no figure costs a result."""

import subprocess
import sys

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from tests.conftest import PROJECT, all_runs, coloured_images, invoke
from tp1.training.evaluation import MOST_MEASURED, Evaluation

CODE = """
import resource, sys, time
from pathlib import Path
import numpy as np
from tp1.report.result_files import write_evaluation, write_figures
from tp1.training.evaluation import Evaluation
from tp1.training.loop import Epoch

before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
generator = np.random.default_rng(0)
classes, images = int(sys.argv[1]), 10 * int(sys.argv[1])
probabilities = generator.dirichlet(np.full(classes, 0.1), images).astype(np.float32)
true = np.repeat(np.arange(classes), 10)
names = tuple(f"class {number}" for number in range(classes))
evaluation = Evaluation(names, np.arange(images), true, probabilities, 1.0)
folder = Path(sys.argv[2])
metrics = evaluation.metrics()
pixels = np.zeros((images, 8, 8, 3), np.uint8)
write_evaluation(evaluation, pixels, folder)
write_figures("t", [Epoch(1, 1, 0.5, 1, 0.5, 1, 0)], 1, evaluation, pixels, folder)
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(used, used - before, round(time.perf_counter() - began, 1), len(metrics))
"""


@pytest.mark.long
def test_a_thousand_classes_take_bounded_memory_and_time(tmp_path):
    answer = subprocess.run(
        [sys.executable, "-c", CODE, "1000", str(tmp_path)], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    peak, _, seconds, metrics = answer.stdout.split()
    assert int(peak) < 2_000_000  # kB
    assert float(seconds) < 60
    assert int(metrics) < 20
    assert (tmp_path / "confusion_matrix.png").stat().st_size < 2e6


def evaluation(classes: int) -> Evaluation:
    true = np.repeat(np.arange(classes), 2)
    probabilities = np.eye(classes, dtype=np.float32)[true]
    return Evaluation(tuple(f"class {number}" for number in range(classes)), true, true, probabilities, 0.1)


def test_metrics_by_class_are_bounded_in_number():
    assert "test/f1/class 0" in evaluation(MOST_MEASURED).metrics()
    many = evaluation(MOST_MEASURED + 1).metrics()
    assert not any("class" in name.removeprefix("test/balanced") for name in many)
    assert many["test/balanced_accuracy"] == 1


def test_the_printed_report_is_bounded():
    text = evaluation(200).brief_report()
    assert len(text.splitlines()) < 70
    assert "The 50 of 200 classes with the lowest F1" in text
    assert "macro avg" in text
    assert evaluation(20).brief_report() == evaluation(20).report_text()


@pytest.mark.parametrize("error", [MemoryError("4 GB"), OSError(28, "No space left")])
def test_a_figure_that_fails_does_not_fail_the_run(store, image_folder, error, monkeypatch):
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr("tp1.report.result_files.run_figures", fail)
    result = invoke("cnn-base", f"dataset={image_folder}", "epochs=1", "batch_size=16")
    assert result.exit_code == 0, result.stderr
    assert "The figures could not be drawn (" in result.stdout
    (run,) = all_runs()
    assert run.info.status == "FINISHED"
    assert run.data.metrics["test/accuracy"] >= 0
    assert len(run.outputs.model_outputs) == 1
    files = {item.path for item in MlflowClient().list_artifacts(run.info.run_id)}
    assert "classification_report.csv" in files
    assert "confusion_matrix.png" not in files


def test_figures_are_drawn_when_the_result_is_safe(store, image_folder, monkeypatch):
    """A process that the system kills while it draws, for its memory, has left a whole run."""
    from tests.conftest import invoke as run
    from tp1.tracking.training_run import RunWriter

    seen = []
    draw = RunWriter.log_figures
    monkeypatch.setattr(
        RunWriter, "log_figures", lambda self, figures: (seen.append(self._outbox.has_end()), draw(self, figures))
    )
    assert run("cnn-base", f"dataset={image_folder}", "epochs=1", "batch_size=16").exit_code == 0
    assert seen == [True]
    (found,) = all_runs()
    assert mlflow.artifacts.load_image(f"{found.info.artifact_uri}/confusion_matrix.png").size[0] > 100


@pytest.mark.long
def test_eda_of_many_classes_is_bounded(store, tmp_path):
    from PIL import Image

    for number in range(60):
        folder = tmp_path / "set" / f"{number:03d}"
        folder.mkdir(parents=True)
        for row, image in enumerate(coloured_images(number % 3, 4, 8, seed=number)):
            Image.fromarray(image).save(folder / f"{row}.png")
    result = invoke("eda", f"dataset={tmp_path / 'set'}")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    middle = lines.index("... 20 classes between the largest and the smallest, all in class_distribution.csv ...")
    assert [line.split()[0] for line in lines[middle - 22 : middle + 21]] == [
        *("train", "class", *(f"{number:03d}" for number in range(20)), "..."),
        *(f"{number:03d}" for number in range(40, 60)),
    ]
    (found,) = all_runs()
    assert mlflow.artifacts.load_image(f"{found.info.artifact_uri}/samples.png").size[1] < 3000
