"""A stored model on labelled images: report, confusion, calibration, intervals, worst mistakes; another model beside.

Repeat: mlflow run . -e evaluate -P model=models:/tp1-cifar10@champion
"""

from collections.abc import Sequence
from pathlib import Path

import click
from mlflow.exceptions import MlflowException

from tp1.base.errors import TP1Error
from tp1.base.names import printable
from tp1.base.progress import say
from tp1.commands.command import Command
from tp1.commands.parameters import MODEL_HELP, Names, config_options
from tp1.commands.tool import tool_command
from tp1.config import READING, TrainConfig
from tp1.data.corruptions import CORRUPTIONS
from tp1.data.sources import dataset_name
from tp1.registry.evaluations import evaluated, update_card
from tp1.registry.examination_page import examination_files, examination_page, summary
from tp1.registry.examined_data import NAMES, PARTS, check_classes_known, is_own, load_parts, unseen_images
from tp1.registry.examined_model import load_examined
from tp1.registry.examined_run import log_examined, paired_metrics
from tp1.registry.examining import examine, examine_harder
from tp1.registry.explaining import METHODS, Explainer
from tp1.registry.versions import Version, find_version
from tp1.report.comparison_page import paired_sentence
from tp1.report.evaluations import Evaluated
from tp1.report.markdown import escape_markdown, indented
from tp1.report.paired import compare_predictions
from tp1.report.robustness import Robustness, robustness_table, side_by_side
from tp1.report.terminal import print_table
from tp1.store.access import refused
from tp1.tracking.tool_run import ToolRun


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
            click.Option(
                ["--corruptions"],
                type=Names(["none", "all", *CORRUPTIONS]),
                help=f"Also on harder images: all, or of {', '.join(CORRUPTIONS)}.  [default: none]",
            ),
            click.Option(
                ["--explain"],
                type=click.Choice(METHODS),
                help="Show on each mistake what speaks for the class predicted.",
            ),
            click.Option(["--seed"], type=click.IntRange(0), help="Of what corruptions draw.  [default: 0]"),
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
    corruptions: tuple[str, ...] = ("none",),
    explain: str | None = None,
    seed: int = 0,
    data_dir: Path | None = None,
    **reading: str,
) -> list[str]:
    """Examine a model, log what is found to ``run``; return the lines to print."""
    kinds = _kinds(corruptions)
    models = [load_examined(name) for name in (model, against) if name is not None]
    first = models[0]
    given_models = {"model": printable(model), "against": printable(against or "")}
    run.log_parameters({**given_models, "part": part, "corruptions": ",".join(kinds)})
    explainer = Explainer(first.predictor, explain) if explain is not None else None
    given = first.predictor.dataset if dataset is None else dataset
    if not given:
        raise TP1Error(f"{first.title} does not say which data set it is of: give dataset=.")
    # What the model was trained on is read as it was then.
    by_name = dataset_name(given) == first.predictor.dataset
    ways = TrainConfig.of((first.reading if by_name else {}) | reading).reading
    own = load_parts(models, given, part, data_dir, ways)
    data = own[0]
    run.log_parameters({"dataset": data.name, **ways})
    run.rename(f"evaluate-{first.run_name or first.title}" + (f"-{part}" if part != "test" else ""))
    for one in models:
        check_classes_known(one, data)
    parts, remarks = unseen_images(own, models)
    images = parts[0]
    say(f"{first.title} on {data} ({data.origin}). {' '.join(remarks)}")

    found, *others = [examine(one, data.classes, each) for one, each in zip(models, parts, strict=True)]
    say(found.evaluation.brief_report())
    lines = [summary(found)]
    pair = None
    if others:
        pair = models[1].title, compare_predictions(found.paired_table(), others[0].paired_table())
        lines.append(f"Against {pair[0]}: {paired_sentence(pair[1], NAMES[part])}")
    harder: dict[str, Robustness] = {}
    metrics = found.metrics()
    if kinds:
        run.log_parameters({"seed": seed})
        measured = examine_harder(models, [found, *others], parts, kinds, seed)
        harder = side_by_side([one.title for one in models], measured)
        metrics |= measured[0].metrics()
        for title, robustness in harder.items():
            say(f"{title} on harder images:")
            print_table(robustness_table({title: robustness}))
            lines.append(f"{title}: {robustness.sentence()}")
    page = examination_page(found, data, images, first.title, remarks, pair, harder, explainer)
    files = examination_files(found, data, harder, page)
    tags = log_examined(run, models, data, len(images), metrics, kinds)
    if pair is not None:
        run.log_metrics(paired_metrics(pair[1]), 0)
    run.log_files(files)
    if first.version is not None and part == "test" and is_own(first, data) and len(images) == len(data.images):
        lines.append(_show_in_card(first.version, first.sha256, evaluated(tags, metrics, run.info.start_time)))
    run.log_note(_note(f"{first.title} on {data}", [*remarks, *lines], run.command))
    return lines


def _show_in_card(version: Version, program: str, own: Evaluated) -> str:
    """Show the evaluation in the card of a registered model, where the user may write it; return a line about it."""
    try:
        # As it is now: the evaluation may have taken an hour, in which others decide on the version.
        now = find_version(version.name, version.number)
        if now is None:
            return f"No card shows it: {version} was deleted meanwhile."
        if not update_card(now, program, own):
            return f"The card of {version} is too long to show it."
    except MlflowException as error:
        if not (why_not := refused(error)):
            raise
        return f"The card of {version} stays as it is: {why_not}"
    return f"The card of {version} shows it."


def _kinds(corruptions: Sequence[str]) -> tuple[str, ...]:
    """Return the kinds of corruptions that were asked for."""
    if len(corruptions) > 1 and {"all", "none"} & {*corruptions}:
        raise TP1Error(f"corruptions={','.join(corruptions)}: give all or none alone, or a list of kinds.")
    return {"all": tuple(CORRUPTIONS), "none": ()}.get(corruptions[0], tuple(corruptions))


def _note(title: str, lines: Sequence[str], command: str) -> str:
    text = "\n\n".join(escape_markdown(line) for line in lines)
    return f"**evaluate**: {escape_markdown(title)}. See evaluation.html.\n\n{text}\n\n{indented(command)}\n"
