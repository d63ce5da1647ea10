"""The figures of a run, drawn from live results or from its record."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tp1.report.figure_files import plain_png
from tp1.report.figures import WORDS, class_distribution, confusion_matrix, curves
from tp1.report.mistakes import FILE as MISTAKES
from tp1.report.mistakes import Mistake, mistakes_figure, read_mistakes
from tp1.store.records import RunRecord
from tp1.store.runs import CURVES, PRUNED_TAG


def run_title(experiment: str, dataset: str, seed: str | int) -> str:
    """Return the title of a run's figures: ``cnnv3 on cifar10, seed 0``."""
    return f"{experiment} on {dataset}, seed {seed}"


def run_figures(
    title: str,
    history: Mapping[str, Sequence[float]],
    best_epoch: int,
    matrix: NDArray[np.int64],
    classes: Sequence[str],
    mistakes: Sequence[Mistake] = (),
) -> dict[str, Figure]:
    """Draw ``curves.png``, ``confusion_matrix.png`` and ``mistakes.png``, if there are any, of a training run.

    Returns:
        The figures by file name.
    """
    figures = {
        "curves.png": curves([history], title, best_epoch),
        "confusion_matrix.png": confusion_matrix(matrix, classes, f"{title}: test images"),
    }
    if mistakes:
        figures["mistakes.png"] = mistakes_figure(mistakes, f"{title}: the surest mistakes, true → predicted")
    return figures


def distribution_figure(counts: pd.DataFrame, dataset: str, words: Mapping[str, str] = WORDS) -> Figure:
    """Draw the counts of images by class (rows) and part (columns); no title if ``dataset`` is empty."""
    by_part = {str(part): counts[part].tolist() for part in counts}
    title = f"{dataset}: images per class" if dataset else ""
    return class_distribution(by_part, [str(name) for name in counts.index], title, words)


def read_distribution(content: bytes) -> pd.DataFrame:
    """Read ``class_distribution.csv``: a class may be called ``001`` or ``NA``."""
    table = pd.read_csv(io.BytesIO(content), dtype={"class": str}, keep_default_na=False)
    return table.set_index("class")


def record_figures(record: RunRecord) -> dict[str, bytes]:
    """Redraw the figures of a run from its record, which leaves them out; PNG by file name.

    An evaluation has none: its tables say the same. Nor has a pruned trial.
    """
    if record.tags.get("tp1.experiment") == "evaluate" or PRUNED_TAG in record.tags:
        return {}
    if "tp1.model" not in record.tags:
        counts = read_distribution(record.files["class_distribution.csv"])
        return {"class_distribution.png": plain_png(distribution_figure(counts, record.tags["tp1.dataset"]))}
    table = pd.read_csv(io.BytesIO(record.files["confusion_matrix.csv"]), index_col="true")
    history = {name: [value for _, _, value in record.metrics[name]] for name in CURVES}
    label = record.name.removesuffix(f"-s{record.tags['tp1.seed']}")
    title = run_title(label, record.tags["tp1.dataset"], record.tags["tp1.seed"])
    best_epoch = int(record.metrics["best/epoch"][-1][2])
    mistakes = read_mistakes(record.files[MISTAKES]) if MISTAKES in record.files else []
    figures = run_figures(title, history, best_epoch, table.to_numpy(), list(table.columns), mistakes)
    return {name: plain_png(figure) for name, figure in figures.items()}
