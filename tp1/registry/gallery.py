"""An HTML page of predicted images; where true classes are known, the most confident mistakes come first."""

import os.path
from collections.abc import Sequence

import numpy as np

from tp1.base.names import printable
from tp1.base.progress import progress
from tp1.data.decoding import strict_and_quiet
from tp1.data.image_files import thumbnail
from tp1.registry.explaining import Explainer, ExplainError
from tp1.registry.predictions import Predictions
from tp1.report.figures import MOST_NAMED, confusion_matrix
from tp1.report.overlays import CAPTION, overlaid
from tp1.report.page import Block, Code, Gallery, Inline, Matrix, Page, Paragraph, Picture, Section, Tile
from tp1.report.page_html import to_html

MOST_IMAGES = 200  # on the page


def gallery_html(predictions: Predictions, model: str, explainer: Explainer | None = None) -> bytes:
    """Return the page as one HTML file.

    Args:
        model: Name of the model that predicted, as the page shows it.
        explainer: Shows on each image what speaks for the predicted class.
    """
    wrong = predictions.wrong
    most_probable = predictions.probabilities.max(axis=1)
    worst = sorted(np.flatnonzero(wrong).tolist(), key=lambda row: -most_probable[row])[:MOST_IMAGES]
    others = np.flatnonzero(~wrong)[: MOST_IMAGES - len(worst)].tolist()
    folder = _common_folder(predictions)
    sections: list[Section] = []
    if (accuracy := predictions.accuracy()) is not None:
        sections.append(Section("accuracy", "Accuracy", [Paragraph([f"{accuracy}."]), _matrix(predictions)]))
        shown = f"{len(worst):,} of {wrong.sum():,} mistakes, those first of which the model is surest."
        blocks: list[Block] = (
            [Paragraph([shown]), _gallery("mistakes", predictions, worst, folder, explainer)] if worst else []
        )
        sections.append(Section("mistakes", "Mistakes", blocks or [Paragraph(["None."])]))
    if others:
        shown = f"{len(others):,} of {(~wrong).sum():,} images, in their order."
        title = "Other images" if sections else "Images"
        sections.append(
            Section("images", title, [Paragraph([shown]), _gallery("images", predictions, others, folder, explainer)])
        )
    count = len(predictions.images)
    lead: list[Inline] = [
        f"{count:,} {'image' if count == 1 else 'images'} predicted with ",
        Code(model),
        f"; {len(worst) + len(others):,} of {count:,} are shown. The bar is the probability of the predicted class.",
    ]
    if explainer is not None:
        lead.append(f" {CAPTION} ({explainer.method}).")
    if folder:
        lead += [" Names are relative to ", Code(printable(folder)), "."]
    if (complaint := predictions.complaint()) is not None:
        lead.append(f" {complaint}")
    # A file name may hold bytes that are not valid text.
    return to_html(Page("Predictions", "en", lead, sections)).encode(errors="backslashreplace")


def _matrix(predictions: Predictions) -> Matrix | Picture:
    counts = predictions.confusion()
    if len(predictions.classes) > MOST_NAMED:  # as a table it would have up to a million cells
        figure = confusion_matrix(counts, predictions.classes, "")
        return Picture("confusion", figure, "Confusion matrix of the images whose class is known.")
    return Matrix(
        name="confusion",
        classes=predictions.classes,
        counts=[[int(count) for count in row] for row in counts],
        caption="Images by true class (rows) and predicted class (columns).",
        true="true",
        predicted="predicted",
        figure=confusion_matrix(counts, predictions.classes, ""),
    )


def _common_folder(predictions: Predictions) -> str:
    """Return the images' common folder, ending in ``/``; empty for a single image or if they have none in common."""
    folders = {os.path.dirname(image.name) for image in predictions.images}  # noqa: PTH120 - a row has a name, no path
    try:
        return os.path.join(os.path.commonpath(folders), "") if len(predictions.images) > 1 else ""  # noqa: PTH118
    except ValueError:  # absolute and relative names mixed
        return ""


def _gallery(
    name: str, predictions: Predictions, rows: Sequence[int], folder: str, explainer: Explainer | None
) -> Gallery:
    return Gallery(name, predicted_tiles(predictions, rows, folder, explainer))


def predicted_tiles(
    predictions: Predictions, rows: Sequence[int], folder: str, explainer: Explainer | None = None
) -> list[Tile]:
    """Return a tile for each of some predicted images, but for files that cannot be read any more.

    Args:
        folder: What the names on the page are relative to; empty for whole names.
        explainer: As for :func:`gallery_html`.
    """
    tiles = []
    with strict_and_quiet():
        for row in progress(rows, "Explaining" if explainer else "Drawing", len(rows)):
            try:
                tiles.append(_tile(predictions, row, predictions.images[row].name.removeprefix(folder), explainer))
            except ExplainError:
                raise
            except Exception:  # the file has changed since its prediction
                continue
    return tiles


def _tile(predictions: Predictions, row: int, name: str, explainer: Explainer | None) -> Tile:
    found, true = predictions.images[row], int(predictions.true[row])
    predicted, *others = predictions.most_probable(row, len(predictions.classes))
    if explainer is None:
        image, small = thumbnail(found)
    else:
        heat = explainer(found, predicted[0])
        image, small = thumbnail(found, lambda picture: overlaid(picture, heat))
    verdict = None if true < 0 else predictions.classes[true] == predicted[0]
    note = ""
    if verdict is False:
        note = f"true: {predictions.classes[true]} ({predictions.probabilities[row, true]:.3f})"
    elif verdict is None and others:
        note = f"then {others[0][0]} ({others[0][1]:.3f})"
    return Tile(printable(name), image, *predicted, verdict, note, small)
