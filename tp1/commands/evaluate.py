"""A stored model on labelled images: report, confusion, calibration, intervals, worst mistakes; another model beside.

Repeat: mlflow run . -e evaluate -P model=models:/tp1-cifar10@champion
"""

from collections.abc import Sequence
from pathlib import Path

import click

from tp1.base.progress import say
from tp1.commands.command import Command
from tp1.commands.parameters import MODEL_HELP, config_options
from tp1.commands.tool import tool_command
from tp1.config import READING, TrainConfig
from tp1.data.sources import dataset_name
from tp1.report.comparison_page import paired_sentence
from tp1.report.page import escape_markdown, indented
from tp1.report.paired import compare_predictions
from tp1.tracking.tool_run import ToolRun

PARTS = ("test", "val", "train", "all")


def evaluate_command() -> Command:
    """Return the command ``evaluate``."""
    return tool_command(
        "evaluate",
        "A stored model on labelled images: report, calibration, intervals, worst mistakes; beside another model.",
        [
            click.Option(["--model"], required=True, help=MODEL_HELP),
            click.Option(
                ["--dataset"], help="A data set that has only classes that the model knows.  [default: the model's own]"
            ),
            click.Option(["--part"], type=click.Choice(PARTS), help="Which of its images.  [default: test]"),
            click.Option(["--against"], metavar="MODEL", help="Another model, compared on the same images."),
            *config_options(None, ("data_dir", *READING)),
        ],
        evaluate,
    )


def evaluate(
    run: ToolRun,
    model: str,
    dataset: str | None = None,
    part: str = "test",
    against: str | None = None,
    data_dir: Path | None = None,
    **reading: str,
) -> list[str]:
    """Examine a model, log what is found to ``run``; return the lines to print."""
    # Imported late, because they import torch.
    from tp1.registry.examination_page import examination_files, summary
    from tp1.registry.examined_data import NAMES, check_classes_known, load_part, unseen_images
    from tp1.registry.examined_model import load_examined
    from tp1.registry.examined_run import log_examined, paired_metrics
    from tp1.registry.examining import examine

    run.log_parameters({"model": model, "part": part, "against": against or ""})
    models = [load_examined(name) for name in (model, against) if name is not None]
    first = models[0]
    given = dataset or first.predictor.dataset
    # What the model was trained on is read as it was then.
    is_own = dataset_name(given) == first.predictor.dataset
    ways = TrainConfig.of((first.reading if is_own else {}) | reading).reading
    data = load_part(given, part, data_dir, max(first.predictor.image_shape[:2]), ways)
    run.log_parameters({"dataset": data.name, **ways})
    run.rename(f"evaluate-{data.name}")
    for one in models:
        check_classes_known(one, data)
    images, remarks = unseen_images(data, models)
    say(f"{first.title} on {data} ({data.origin}). {' '.join(remarks)}")

    found, *others = [examine(one, data, images) for one in models]
    lines = [found.evaluation.brief_report(), summary(found)]
    pair = None
    if others:
        pair = models[1].title, compare_predictions(found.paired_table(), others[0].paired_table())
        lines.append(f"Against {pair[0]}: {paired_sentence(pair[1], NAMES[part])}")
    metrics = found.metrics()
    log_examined(run, models, data, len(images), metrics)
    if pair is not None:
        run.log_metrics(paired_metrics(pair[1]), 0)
    run.log_files(examination_files(found, data, images, first.title, remarks, pair))
    run.log_note(_note(f"{first.title} on {data}", [*remarks, *lines[1:]], run.command))
    return lines


def _note(title: str, lines: Sequence[str], command: str) -> str:
    text = "\n\n".join(escape_markdown(line) for line in lines)
    return f"**evaluate**: {escape_markdown(title)}. See evaluation.html.\n\n{text}\n\n{indented(command)}\n"
