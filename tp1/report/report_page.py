"""The report, section by section, from tracked runs: measured beside published figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from tp1.config import hyperparameters
from tp1.experiment import Experiment, Study
from tp1.report.comparison import RULE, Group, chosen_groups, groups_of
from tp1.report.curve_charts import Curve, curve_charts
from tp1.report.details import Detail
from tp1.report.eda import Look
from tp1.report.error_blocks import calibration_blocks, confused_pairs, surest_mistakes
from tp1.report.figures import MOST_NAMED, compared_curves, confusion_matrix, curves, published_and_measured
from tp1.report.nearness import mean_absolute_difference, printed_accuracies
from tp1.report.overview_chart import overview_chart
from tp1.report.page import (
    Block,
    Code,
    Command,
    Heading,
    Inline,
    Link,
    Matrix,
    Number,
    Page,
    Paragraph,
    Photo,
    Picture,
    Section,
    Table,
)
from tp1.report.parameters import parameters_of
from tp1.report.run_figures import distribution_figure
from tp1.report.sweeps import SweepTrials, sweep_blocks
from tp1.report.tables import Texts, number, signed, summary_table
from tp1.report.texts import TEXTS
from tp1.store.runs import TrackedRun

MOST_ROWS = 50  # classes in a table; of more, those with the lowest F1
SHOWN = (
    *("train/accuracy", "train/loss", "val/accuracy", "val/loss", "best/val_accuracy", "best/val_loss"),
    *("test/accuracy", "test/precision_macro", "test/recall_macro", "test/f1_macro"),
)


def report_page(
    entries: Sequence[Experiment | Study | tuple[str, str]],
    groups: Sequence[Group],
    details: Mapping[str, Detail],
    looks: Mapping[str, Look],
    sweeps: Sequence[SweepTrials],
    language: str,
    link: Callable[[TrackedRun], str],
) -> Page:
    """Return the whole report.

    Args:
        entries: Its sections in order: experiments, studies, and data explorations as (section, data set).
        groups: All groups of runs.
        details: Details of the groups that have a section (:func:`chosen_groups`), as
            :func:`~tp1.report.details.read_details` returns them.
        looks: Data explorations (``eda``) by data set.
        sweeps: Each becomes one line that opens to its trials.
        language: Language of the fixed texts, ``en`` or ``pt``.
        link: Returns the address of a run.
    """
    texts = TEXTS[language]
    sections = [_overview(entries, groups, details, texts)]
    for entry in entries:
        if isinstance(entry, tuple):
            sections.append(_look_section(*entry, looks, texts))
        elif isinstance(entry, Study):
            sections.append(_study_section(entry, groups, details, texts, link))
        else:
            sections.append(_experiment_section(entry, groups, details, texts, link))
    if sweeps:
        sections.append(Section("sweeps", texts["sweeps"], sweep_blocks(sweeps, texts)))
    sections.append(_made(groups, texts))
    return Page(texts["title"], language, [*_nearness(entries, groups, texts), texts["lead"]], sections)


def _nearness(entries: Sequence[Any], groups: Sequence[Group], texts: Texts) -> list[str]:
    """One line that says how near the whole report is; none without a published figure to compare with."""
    found = mean_absolute_difference(chosen_groups(entries, groups))
    if found is None:
        return []
    difference, count = found
    return [texts["nearness"].format(difference=difference, count=count, printed=printed_accuracies(entries)), " "]


def _overview(entries: Sequence[Any], groups: Sequence[Group], details: Mapping[str, Detail], texts: Texts) -> Section:
    chosen = chosen_groups(entries, groups)
    blocks: list[Block] = []
    if chosen:
        images = {run_id: detail.compared_images for run_id, detail in details.items()}
        rows = []
        for group in chosen:
            metric = group.published_metric
            name = metric or "test/accuracy"
            short = texts["validation_short"] if metric == "val/accuracy" else texts["test_short"]
            rows.append(
                (
                    f"{_label(group)}{' *' if group.differences else ''} ({short})",
                    group.published.get(metric or ""),
                    group.mean(name),
                    group.sd(name),
                )
            )
        figure = published_and_measured(rows, "")
        caption = texts["overview_figure"] + (texts["overview_star"] if any(g.differences for g in chosen) else "")
        blocks = [
            Picture("overview", figure, caption, caption, [overview_chart(rows, texts)]),
            summary_table(chosen, texts, texts["within_rule"], brief=True, images=images),
        ]
    return Section("overview", texts["overview"], blocks)


def _look_section(section: str, dataset: str, looks: Mapping[str, Look], texts: Texts) -> Section:
    anchor, title = f"data-{dataset}", f"{section} {texts['data']}: {dataset}"
    if dataset not in looks:
        return Section(
            anchor, title, [Command(f"mlflow run . -e eda -P dataset={dataset}", texts["missing"], missing=True)]
        )
    look = looks[dataset]
    rows = [[str(channel), number(row["mean"]), number(row["std"])] for channel, row in look.channels.iterrows()]
    return Section(
        anchor,
        title,
        [
            Photo(f"{dataset}-samples", look.samples, texts["samples"], texts["samples"]),
            Picture(
                f"{dataset}-classes",
                distribution_figure(look.distribution, "", texts["figures"]),
                texts["distribution"],
                texts["distribution"],
            ),
            Table([texts["channel"], texts["mean"], texts["sd"]], rows, texts["channels"]),
        ],
    )


def _experiment_section(
    experiment: Experiment,
    groups: Sequence[Group],
    details: Mapping[str, Detail],
    texts: Texts,
    link: Callable[[TrackedRun], str],
) -> Section:
    title = f"{experiment.section} {experiment.name}".strip()
    blocks: list[Block] = [Paragraph([_own_text(experiment, "summary", texts)])]
    own = groups_of(experiment, groups)
    if not own:
        command = f"mlflow run . -e {experiment.name}"
        return Section(experiment.name, title, [*blocks, Command(command, texts["missing"], missing=True)])
    first, *others = own
    detail = details[first.runs[0].run_id]
    if experiment.note:
        blocks.append(Paragraph([_own_text(experiment, "note", texts)]))
    if not first.is_default and first.differences:
        blocks.append(Paragraph([texts["not_default"].format(what=first.differences)]))
    label, anchor = _label(first), experiment.name
    blocks += [
        *_remarks([first]),
        _measured_table(first, texts),
        Heading(texts["curves_title"], f"{anchor}-curves"),
        _curves(detail, texts),
        Heading(texts["classes_title"], f"{anchor}-classes"),
        _per_class(detail, experiment, texts),
        _matrix(detail, texts),
        *confused_pairs(detail, texts),
        *surest_mistakes(detail, label, anchor, texts),
        *calibration_blocks(detail, label, anchor, texts),
        Heading(texts["runs"], f"{anchor}-runs"),
        _runs_table([first], texts, link),
        Command(detail.command, texts["repeat"]),
    ]
    blocks += _others(others, texts, link)
    return Section(experiment.name, title, blocks)


def _study_section(
    study: Study,
    groups: Sequence[Group],
    details: Mapping[str, Detail],
    texts: Texts,
    link: Callable[[TrackedRun], str],
) -> Section:
    title = f"{study.section} {study.name}".strip()
    chosen = chosen_groups([study], groups)
    blocks: list[Block] = [Paragraph([_own_text(study, "summary", texts)]), *_remarks(chosen)]
    if chosen:
        keys = [f"{study.name}-{row}" for row in range(len(chosen))]
        histories = [(group.label, details[group.runs[0].run_id].histories) for group in chosen]
        blocks += [
            summary_table(chosen, texts, parameters=parameters_of(chosen), keys=keys),
            Picture(
                f"{study.name}-curves",
                compared_curves(histories, "", texts["figures"]),
                texts["compared"],
                texts["compared"],
                curve_charts([Curve(key, *one) for key, one in zip(keys, histories, strict=True)], texts),
                legend=True,
            ),
            _runs_table(chosen, texts, link),
        ]
    seeds = sorted({run.seed for group in chosen for run in group.runs})
    command = f"mlflow run . -e {study.name}" + (f" -P seeds={','.join(map(str, seeds))}" if len(seeds) > 1 else "")
    if len(chosen) < len(study.experiments):
        blocks.append(Command(command, texts["missing_some"] if chosen else texts["missing"], missing=True))
    else:
        blocks.append(Command(command, texts["repeat"]))
    blocks += _others(
        [group for experiment in study.experiments for group in groups_of(experiment, groups)[1:]], texts, link
    )
    return Section(study.name, title, blocks)


def _own_text(entry: Experiment | Study, name: str, texts: Texts) -> str:
    """Summary or note of an experiment in the report's language, else in English."""
    own: str = getattr(entry, f"{name}{texts['suffix']}") or getattr(entry, name)
    return own


def _remarks(groups: Sequence[Group]) -> list[Paragraph]:
    """The remarks that users wrote about the runs, each once."""
    remarks = dict.fromkeys(run.remark for group in groups for run in group.runs)
    return [Paragraph([remark]) for remark in remarks if remark]


def _others(groups: Sequence[Group], texts: Texts, link: Callable[[TrackedRun], str]) -> list[Block]:
    """Tables of the runs whose parameters differ from the section's main run; empty without groups."""
    if not groups:
        return []
    return [Paragraph([texts["others"]]), summary_table(groups, texts), _runs_table(groups, texts, link)]


def _measured_table(group: Group, texts: Texts) -> Table:
    beside = bool(group.published)
    rows: list[list[Inline]] = []
    for metric in SHOWN:
        published = group.published.get(metric)
        row: list[Inline] = [texts["metrics"][metric]]
        if beside:
            row.append(Number(f"{published:g}", published) if published is not None else "–")
        row.append(number(group.mean(metric), 4, group.sd(metric)))
        if beside:
            row.append(signed(group.mean(metric) - published if published is not None else None))
        rows.append(row)
    remark = texts["remarks"].get(group.remark(), group.remark())
    measured = f"{texts['measured']} (n = {len(group.runs)})"
    columns = [texts["published"], measured, texts["difference"]] if beside else [measured]
    return Table([texts["metric"], *columns], rows, f"{texts['remark']}: {remark}")


def _curves(detail: Detail, texts: Texts) -> Picture:
    group = detail.group
    best = int(group.runs[0].metrics["best/epoch"]) if len(group.runs) == 1 else None
    caption = texts["curves"] if best is not None else texts["curves_n"]
    charts = curve_charts([Curve("", group.label, detail.histories)], texts, best)
    return Picture(
        f"{_label(group)}-curves", curves(detail.histories, "", best, texts["figures"]), caption, caption, charts
    )


def _per_class(detail: Detail, experiment: Experiment, texts: Texts) -> Table:
    published = (experiment.published.test_report or {}).get("per_class", {}) if detail.group.published else {}
    names = (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score"))
    rows: list[list[Inline]] = []
    names_shown, caption = list(detail.confusion.columns), texts["per_class"]
    if len(names_shown) > MOST_ROWS:
        first = detail.reports[0]
        names_shown = sorted(names_shown, key=lambda name: first[name]["f1-score"])[:MOST_ROWS]
        caption = f"{caption} {texts['lowest'].format(shown=MOST_ROWS, of=len(detail.confusion.columns))}"
    for name in names_shown:
        row: list[Inline] = [str(name)]
        for short, key in names:
            values = [report[name][key] for report in detail.reports]
            if published:
                row.append(number(published.get(name, {}).get(short), 2))
            row.append(number(fmean(values), 2, stdev(values) if len(values) > 1 else None))
        rows.append(row)
    heads = [texts["precision"], texts["recall"], "F1"]
    if not published:
        return Table([texts["class"], *heads], rows, caption)
    return Table(
        [texts["class"], *([texts["published"], texts["measured"]] * 3)],
        rows,
        caption,
        groups=[("", 1), *((head, 2) for head in heads)],
    )


def _matrix(detail: Detail, texts: Texts) -> Matrix | Picture:
    run = detail.group.runs[0]
    classes = [str(name) for name in detail.confusion.columns]
    counts = detail.confusion.to_numpy()
    figure, caption = confusion_matrix(counts, classes, "", texts["figures"]), texts["matrix"].format(seed=run.seed)
    if len(classes) > MOST_NAMED:  # as a table it would have a million cells
        return Picture(f"{_label(detail.group)}-confusion", figure, caption, caption)
    return Matrix(
        name=f"{_label(detail.group)}-confusion",
        classes=classes,
        counts=[[int(count) for count in row] for row in counts],
        caption=caption,
        true=texts["true"],
        predicted=texts["predicted"],
        figure=figure,
    )


def _runs_table(groups: Sequence[Group], texts: Texts, link: Callable[[TrackedRun], str]) -> Table:
    rows: list[list[Inline]] = []
    for group in groups:
        for run in group.runs:
            epochs = hyperparameters(run.params)["epochs"]
            best = run.metrics["best/epoch"]
            rows.append(
                [
                    Link(run.name, link(run)),
                    Code(run.original[:8]),
                    Number(str(run.seed), run.seed),
                    number(run.metrics["best/val_accuracy"]),
                    number(run.metrics["test/accuracy"]),
                    Number(f"{best:.0f} / {epochs:.0f}" if isinstance(epochs, (int, float)) else f"{best:.0f}", best),
                ]
            )
    columns = [
        texts["run"],
        "id",
        texts["seed"],
        texts["validation"],
        texts["test"],
        texts["best_epoch"],
    ]
    return Table(columns, rows)


def _made(groups: Sequence[Group], texts: Texts) -> Section:
    processors = dict.fromkeys(
        processor for group in groups for run in group.runs if (processor := run.params.get("processor"))
    )
    blocks: list[Block] = [
        Paragraph([texts["made_by"], Code("mlflow run . -e report"), "."]),
        Paragraph([texts["rule"], texts.get("rule_text", RULE)]),
    ]
    if processors:
        blocks.append(Paragraph([texts["machine"], "; ".join(processors), "."]))
    return Section("made", texts["made"], blocks)


def _label(group: Group) -> str:
    # Not the run's name, which anybody can set: the label becomes part of file names.
    return group.experiment.label if group.experiment else group.runs[0].run_id
