"""The files of an evaluation: tables, figures, and a page with the mistakes that the model is surest of."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from tp1.base.names import printable
from tp1.data.class_names import label_names
from tp1.data.dataset import Part
from tp1.data.image_files import FoundImage
from tp1.registry.examined_data import NAMES, ExaminedData
from tp1.registry.explaining import Explainer
from tp1.registry.gallery import predicted_tiles
from tp1.registry.predictions import Predictions
from tp1.report.calibration import BINS
from tp1.report.comparison_page import paired_blocks
from tp1.report.examination import Examination
from tp1.report.examination_figures import reliability_diagram
from tp1.report.figures import MOST_NAMED, confusion_matrix
from tp1.report.overlays import CAPTION
from tp1.report.page import Block, Code, Gallery, Inline, Matrix, Number, Page, Paragraph, Picture, Section, Table
from tp1.report.page_html import to_html
from tp1.report.paired import Paired
from tp1.report.robustness import Robustness, robustness_figure, robustness_table
from tp1.report.tables import number
from tp1.store.records import CORRUPTIONS_FILE

MISTAKES = 48  # on the page
MOST_ROWS = 100  # classes in the page's table; classes.csv has all
MOST_LISTED = 1000  # mistakes in mistakes.csv


def examination_files(
    examination: Examination, data: ExaminedData, harder: Mapping[str, Robustness], page: Page
) -> dict[str, bytes]:
    """Return the artifacts of an evaluation by name; the figures are on its page.

    Args:
        harder: As for :func:`examination_page`, which makes ``page``.
    """
    counts, names = examination.confusion()
    labels = list(label_names(names))
    mistakes = examination.worst_mistakes(MOST_LISTED)
    return {
        "evaluation.html": to_html(page).encode(errors="backslashreplace"),
        "classification_report.txt": examination.evaluation.report_text().encode(),
        "classes.csv": examination.class_table().to_csv(index=False).encode(),
        "confusion_matrix.csv": pd.DataFrame(counts, labels, labels).to_csv(index_label="true").encode(),
        "calibration.csv": examination.bins.to_csv(index=False).encode(),
        "mistakes.csv": _mistakes_table(examination, data, mistakes).to_csv(index=False).encode(),
        "predictions.parquet": examination.predictions().to_parquet(index=False, compression="zstd"),
        **({CORRUPTIONS_FILE: _harder_table(harder)} if harder else {}),
    }


def _harder_table(harder: Mapping[str, Robustness]) -> bytes:
    tables = pd.concat([one.table().assign(model=title) for title, one in harder.items()])
    return tables.to_csv(index=False).encode()


def summary(examination: Examination) -> str:
    """The main figures, as one sentence."""
    spread, loss = examination.intervals, examination.evaluation.loss
    f1 = examination.evaluation.report()["macro avg"]["f1-score"]

    def between(interval: tuple[float, float]) -> str:
        return f"{interval[0]:.4f} to {interval[1]:.4f}"

    return (
        f"Accuracy {examination.accuracy:.4f} (95 % bootstrap interval {between(spread.accuracy)}), macro F1 {f1:.4f} "
        f"({between(spread.f1_macro)}), loss {loss:.4f} nats; calibration error (ECE, {BINS} bins) "
        f"{examination.calibration_error:.4f}, Brier score {examination.brier:.4f} ({between(spread.brier)})."
    )


def examination_page(
    examination: Examination,
    data: ExaminedData,
    images: Part,
    title: str,
    remarks: Sequence[str],
    pair: tuple[str, Paired] | None,
    harder: Mapping[str, Robustness],
    explainer: Explainer | None,
) -> Page:
    """Return the page of an evaluation.

    Args:
        images: The images that were examined, of ``data``.
        title: What the model is called.
        remarks: Sentences about model and images.
        pair: The other model's title and the comparison with it.
        harder: Of this model, and of the other one after it, on corrupted images; empty if that was not measured.
        explainer: Shows on each mistake what speaks for the class that it was taken for; None: nothing is shown.
    """
    sections = [
        Section("summary", "Summary", [Paragraph([summary(examination)]), _class_table(examination)]),
        Section("confusion", "Confusion matrix", [_matrix(examination)]),
        Section("calibration", "Calibration", _calibration(examination)),
        Section("mistakes", "Mistakes", _mistakes(examination, data, images, explainer)),
    ]
    if harder:
        sections.append(Section("corruptions", "Harder images", _harder(harder)))
    if pair is not None:
        other, paired = pair
        sections.append(Section("against", f"Against {other}", paired_blocks(paired, NAMES[data.part])))
    lead: list[Inline] = [Code(title), f" on {data}, from ", Code(data.origin), ".", *(f" {text}" for text in remarks)]
    return Page(f"Evaluation on {data.name}", "en", lead, sections)


def _class_table(examination: Examination) -> Table:
    table = examination.class_table()
    caption = "Recall with its 95 % bootstrap interval over the images."
    if len(table) > MOST_ROWS:
        table = table.sort_values("f1", kind="stable").head(MOST_ROWS)
        caption += f" The {MOST_ROWS} of {len(examination.classes):,} classes with the lowest F1; classes.csv has all."
    rows: list[list[Inline]] = [
        [
            str(row["class"]),
            Number(f"{row['images']:,}", row["images"]),
            number(row["precision"], 3),
            number(row["recall"], 3),
            f"{row['recall_low']:.3f} to {row['recall_high']:.3f}",
            number(row["f1"], 3),
        ]
        for _, row in table.iterrows()
    ]
    return Table(["class", "images", "precision", "recall", "interval", "F1"], rows, caption)


def _matrix(examination: Examination) -> Matrix | Picture:
    counts, classes = examination.confusion()
    figure = confusion_matrix(counts, classes, "")
    if len(classes) > MOST_NAMED:  # as a table it would have up to a million cells
        return Picture("confusion", figure, "Confusion matrix.")
    return Matrix(
        name="confusion",
        classes=classes,
        counts=counts.tolist(),
        caption="Images by true class (rows) and predicted class (columns).",
        true="true",
        predicted="predicted",
        figure=figure,
    )


def _calibration(examination: Examination) -> list[Block]:
    rows: list[list[Inline]] = [
        [
            f"{row['low']:.3f} to {row['high']:.3f}",
            Number(f"{row['images']:,.0f}", row["images"]),
            number(row["confidence"], 3),
            number(row["accuracy"], 3),
        ]
        for _, row in examination.bins.iterrows()
        if row["images"]
    ]
    caption = "Accuracy by confidence. A model that is as sure as it is right lies on the dashed line."
    return [
        Picture("reliability", reliability_diagram(examination.bins), caption, caption),
        Table(["confidence", "images", "mean confidence", "accuracy"], rows, "Bins without images are left out."),
    ]


def _harder(harder: Mapping[str, Robustness]) -> list[Block]:
    caption = "Accuracy on corrupted images by strength; strength 0 is the images as they are."
    said = [f"{title}: {one.sentence()}" if len(harder) > 1 else one.sentence() for title, one in harder.items()]
    return [
        *(Paragraph([text]) for text in said),
        Picture("corruptions", robustness_figure(harder), caption, caption),
        robustness_table(harder),
    ]


def _mistakes(examination: Examination, data: ExaminedData, images: Part, explainer: Explainer | None) -> list[Block]:
    rows = examination.worst_mistakes(MISTAKES)
    if not len(rows):
        return [Paragraph(["None."])]
    found = [
        FoundImage(data.names[index], image)
        for index, image in zip(images.index[rows].tolist(), images.images[rows], strict=True)
    ]
    classes = (*examination.classes, *examination.others)
    shown = Predictions(classes, found, examination.probabilities[rows], examination.true[rows], 0, [])
    count = int((examination.predicted != examination.true).sum())
    said = f"{len(rows):,} of {count:,} mistakes, those first of which the model is surest."
    if explainer is not None:
        said = f"{said} {CAPTION} ({explainer.method})."
    return [Paragraph([said]), Gallery("mistakes", predicted_tiles(shown, range(len(rows)), "", explainer))]


def _mistakes_table(examination: Examination, data: ExaminedData, rows: np.ndarray) -> pd.DataFrame:
    classes = np.array((*examination.classes, *examination.others))
    probabilities = examination.probabilities[rows]
    return pd.DataFrame(
        {
            "image": [printable(data.names[index]) for index in examination.index[rows].tolist()],
            "true": classes[examination.true[rows]],
            "predicted": classes[examination.predicted[rows]],
            "probability": probabilities.max(axis=1),
            "probability_of_true": probabilities[np.arange(len(rows)), examination.true[rows]],
        }
    )
