"""Model cards in Markdown: what a stored model is, what it can do and what it cannot.

Source of the form: Mitchell et al. 2019, Model Cards for Model Reporting.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tp1.base.names import whole_number
from tp1.data.class_names import label_names
from tp1.experiment import Experiment
from tp1.report.calibration import BINS, expected_calibration_error
from tp1.report.markdown import escape_markdown, indented
from tp1.store.records import RunRecord
from tp1.store.runs import images_of

CLASSES_LISTED = 25  # more would not fit into a registry's description
BY_CLASS = "### By class"
OTHER_CLASSES = "The other classes: classification_report.csv of the run."


@dataclass(frozen=True)
class Speed:
    """How fast a model answers, on the machine that measured it.

    Attributes:
        image_ms: Milliseconds for one image, median.
        images_per_second: Throughput in batches, median.
        batch: Images per batch.
        processor: Name of the processor, and threads used.
    """

    image_ms: float
    images_per_second: float
    batch: int
    processor: str


def model_card(
    name: str,
    record: RunRecord,
    experiment: Experiment | None,
    image_shape: tuple[int, int, int],
    model_bytes: int,
    speed: Speed | None = None,
    promotion: str = "",
) -> str:
    """Return the card of a run's model.

    Args:
        name: Name of the model, such as ``tp1-cifar10 version 3``.
        record: The run that trained it.
        experiment: The run's experiment; None if this code does not know it.
        image_shape: (H, W, 3) of the images that the model takes.
        model_bytes: Size of the pt2 program.
        speed: None if it was not measured.
        promotion: Why the model was promoted; empty if it was not.
    """
    config = json.loads(record.files["config.json"])
    classes = list(config["classes"])
    report = json.loads(record.files["classification_report.json"])
    predictions = pd.read_parquet(io.BytesIO(record.files["predictions.parquet"]))
    tags, params = record.tags, record.params
    images = {entry["context"]: images_of(entry.get("profile")) for entry in record.datasets}
    published = _published(experiment, config)
    calibration = expected_calibration_error(
        predictions[list(label_names(classes))].to_numpy(), predictions["true"].to_numpy()
    )

    def last(metric: str) -> float:
        return record.metrics[metric][-1][2]

    label = escape_markdown(record.name.removesuffix(f"-s{tags['tp1.seed']}"))  # a user may have renamed the run
    dataset = escape_markdown(tags["tp1.dataset"])
    dirty = " with uncommitted changes" if tags.get("tp1.git_dirty") == "true" else ""
    many = f" and {len(classes) - CLASSES_LISTED} more" if len(classes) > CLASSES_LISTED else ""
    text = [
        f"# {name}: {label}, seed {tags['tp1.seed']}",
        "",
        f"Classifies images into the {len(classes)} classes of {dataset}. "
        f"{experiment.summary if experiment else ''}".rstrip(),
        "",
        "## Use",
        "",
        f"- Input: uint8 RGB images `(N, H, W, 3)`, `(H, W) = {image_shape[:2]}`, any N. Resizing to what "
        "the network takes and normalisation are inside.",
        f"- Output: float32 probabilities `(N, {len(classes)})`, classes in this order: "
        f"{', '.join(map(escape_markdown, classes[:CLASSES_LISTED]))}{many}.",
        f"- For images like those of {dataset}: teaching, comparing methods, a baseline.",
        "- Not for other images, or for decisions about people: every image gets one of these classes, whatever it "
        "shows; it was tested on one data set, by one split, not with other sensors or against attacks, and in other "
        "light only if that is said below.",
        "",
        "## Measured",
        "",
        *_table(
            ["", "published", "measured"],
            [
                (f"validation accuracy ({images.get('validation', 0):,} images)", None, last("best/val_accuracy")),
                *(
                    [("the same after the last epoch", config["published"]["val/accuracy"], last("val/accuracy"))]
                    if "val/accuracy" in config["published"]
                    else []
                ),
                (f"test accuracy ({len(predictions):,} images)", published.get("accuracy"), last("test/accuracy")),
                ("test F1, macro", published.get("macro_avg", {}).get("f1"), last("test/f1_macro")),
                ("test loss, nats", None, last("test/loss")),
                (f"calibration error (ECE, {BINS} bins, test)", None, calibration),
            ],
        ),
        "",
        BY_CLASS,
        "",
        *_table(
            ["class", "published F1", "F1", "precision", "recall"],
            [
                (
                    escape_markdown(name),
                    published.get("per_class", {}).get(name, {}).get("f1"),
                    *(report[label][key] for key in ("f1-score", "precision", "recall")),
                )
                for name, label in [*zip(classes, label_names(classes), strict=True)][:CLASSES_LISTED]
            ],
        ),
        *(["", OTHER_CLASSES] if many else []),
        "",
        "## Training",
        "",
        indented(config["command"]),
        "",
        f"Run {record.run_id}; commit {tags.get('tp1.git_commit', 'unknown')}{dirty}; {params.get('processor', '')}. "
        f"{images.get('training', 0):,} training images; the epoch was chosen on validation, test read once. "
        f"Data digest {tags['tp1.data_digest']}, split digest {tags['tp1.split_digest']}.",
        "",
        "## Size and speed",
        "",
        f"{whole_number(params.get('model_parameters', '')) or 0:,} parameters; model.pt2 {model_bytes / 1e6:.1f} MB."
        + (
            f" One image {speed.image_ms:.1f} ms (median), {speed.images_per_second:,.0f} images/s in batches of "
            f"{speed.batch}, on {speed.processor}."
            if speed
            else ""
        ),
    ]
    if promotion:
        text += ["", "## Promotion", "", promotion]
    return "\n".join(text) + "\n"


def shortened(card: str, limit: int) -> str:
    """Return a card without the last rows of its table of classes, which the run has too, as far as ``limit`` asks.

    Args:
        limit: Characters; the card stays longer if it is so without any class.
    """
    before, title, rest = card.partition(f"\n{BY_CLASS}\n\n")
    table, end, after = rest.partition("\n\n")
    rows = table.split("\n")
    if len(card) <= limit or not title or not rows[0].startswith("|"):
        return card
    after = f"\n\n{OTHER_CLASSES}{end}{after.removeprefix(OTHER_CLASSES).lstrip()}"
    room = limit - len(before + title + after)
    while len(rows) > 2 and len("\n".join(rows)) > room:  # the first two are the table's head
        rows.pop()
    return before + title + "\n".join(rows) + after


def _published(experiment: Experiment | None, config: Mapping[str, Any]) -> dict[str, Any]:
    """The published test report, if the run uses the report's own data set; else empty."""
    if experiment is None or not config["published"] or experiment.published.test_report is None:
        return {}
    return experiment.published.test_report


def _table(head: list[str], rows: list[tuple[Any, ...]]) -> list[str]:
    """A Markdown table; its second column, the published values, is left out if it is empty."""
    if all(row[1] is None for row in rows):
        head, rows = [head[0], *head[2:]], [(row[0], *row[2:]) for row in rows]
    lines = [head, ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def _cell(value: str | float | None) -> str:
    if isinstance(value, str):
        return value
    return "–" if value is None else f"{value:.4f}"
