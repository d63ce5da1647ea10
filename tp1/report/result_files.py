"""Write the result files that become artifacts of a training run."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tp1.data.class_names import label_names
from tp1.data.stored import ImageArray
from tp1.report.figure_files import plain_png
from tp1.report.mistakes import FILE as MISTAKES
from tp1.report.mistakes import mistakes_file, surest_mistakes
from tp1.report.run_figures import run_figures
from tp1.training.evaluation import Evaluation
from tp1.training.loop import Epoch


def write_evaluation(evaluation: Evaluation, images: ImageArray, folder: Path) -> None:
    """Write the classification report, the confusion matrix (counts), the predictions and the surest mistakes.

    Args:
        images: The test images: uint8 (N, H, W, 3), in the order of the evaluation.
    """
    (folder / "classification_report.txt").write_text(evaluation.report_text(), encoding="utf-8")
    (folder / "classification_report.json").write_text(json.dumps(evaluation.report(), indent=1), encoding="utf-8")
    evaluation.report_table().to_csv(folder / "classification_report.csv", index_label="class")
    labels = list(label_names(evaluation.classes))
    matrix = pd.DataFrame(evaluation.confusion(), labels, labels)
    matrix.to_csv(folder / "confusion_matrix.csv", index_label="true")
    # No dictionary encoding for probabilities, whose values are all different: the file is a third smaller.
    evaluation.predictions().to_parquet(
        folder / "predictions.parquet", index=False, compression="zstd", use_dictionary=["true", "predicted"]
    )
    (folder / MISTAKES).write_bytes(mistakes_file(surest_mistakes(evaluation, images)))


def write_figures(
    title: str,
    history: Sequence[Epoch],
    best: int,
    evaluation: Evaluation,
    images: ImageArray,
    folder: Path,
) -> None:
    """Draw and write the curves, the confusion matrix and the surest mistakes.

    Args:
        best: Number of the best epoch, from 1.
        images: The test images, as of :func:`write_evaluation`.
    """
    curves = {
        "train/loss": [epoch.train_loss for epoch in history],
        "train/accuracy": [epoch.train_accuracy for epoch in history],
        "val/loss": [epoch.val_loss for epoch in history],
        "val/accuracy": [epoch.val_accuracy for epoch in history],
    }
    mistakes = surest_mistakes(evaluation, images)
    figures = run_figures(title, curves, best, evaluation.confusion(), evaluation.classes, mistakes)
    for name, figure in figures.items():
        (folder / name).write_bytes(plain_png(figure))
