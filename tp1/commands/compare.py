"""Comparison of runs: one row per configuration over its seeds, beside the published figures (tables 1 and 2).

Repeat: mlflow run . -e compare
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from tp1.base.errors import TP1Error
from tp1.base.folders import check_writable, write_files
from tp1.base.progress import say
from tp1.commands.command import Command
from tp1.commands.parameters import Names
from tp1.commands.tool import tool_command
from tp1.experiment import Experiment, Study
from tp1.registry.evaluations import find_evaluations
from tp1.report.comparison import LAST_EPOCH, Group, unique_label
from tp1.report.comparison_page import ROWS, comparison_files, comparison_text, paired_sentence
from tp1.report.paired import Paired
from tp1.report.parameters import parameters_of
from tp1.report.selection import Selection, compare_pairs, groups_named, nothing_found, select, sort_groups
from tp1.report.sweeps import sweeps_table
from tp1.report.tables import summary_table
from tp1.report.terminal import print_data, print_table
from tp1.report.texts import TEXTS
from tp1.store.prepare import existing_store
from tp1.store.reader import RunReader
from tp1.tracking.tool_run import ToolRun

TRACKING_URI = click.Option(["--tracking-uri"], help="Read runs from this store.  [default: where runs are logged]")


def compare_command(catalog: Sequence[Experiment | Study]) -> Command:
    """Return the command ``compare``."""
    return tool_command(
        "compare",
        "Runs side by side: hyperparameters, mean and standard deviation over seeds, published figures, remarks.",
        [
            click.Option(
                ["--experiments"],
                type=Names([entry.name for entry in catalog]),
                help="Only these experiments.  [default: all]",
            ),
            click.Option(["--dataset"], help="Only runs on this data set, by its name."),
            click.Option(["--since"], type=click.DateTime(), help="Only runs that started then or later (UTC)."),
            click.Option(
                ["--sort"], help="A column of compare.csv, such as test_accuracy.  [default: the report's order]"
            ),
            click.Option(["--against"], help="Compare each with this experiment, or cnnv3-c2, image by image."),
            click.Option(
                ["--format"],
                type=click.Choice(["csv", "json", "md"]),
                help="Print the rows like this, for another program.  [default: a table to read]",
            ),
            click.Option(["--to"], type=click.Path(path_type=Path, file_okay=False), help="Write the files here too."),
            TRACKING_URI,
        ],
        partial(compare, catalog),
        is_data=lambda given: "format" in given,
    )


def compare(
    catalog: Sequence[Experiment | Study],
    run: ToolRun,
    experiments: tuple[str, ...] | None = None,
    dataset: str | None = None,
    since: datetime | None = None,
    sort: str | None = None,
    against: str | None = None,
    format: str | None = None,
    to: Path | None = None,
    tracking_uri: str | None = None,
) -> list[str]:
    """Print the comparison and log it as artifacts of ``run``; return further lines to print.

    Raises:
        TP1Error: There are no runs to compare, or incomplete runs were left out (raised last).
    """
    if to is not None:
        check_writable(to)
    reader = RunReader(existing_store(tracking_uri))
    started = int(since.replace(tzinfo=UTC).timestamp() * 1000) if since else None
    selection = select(reader, catalog, experiments, dataset, started)
    limits = (f" on {dataset}" if dataset else "") + (f" since {since:%Y-%m-%d %H:%M} UTC" if since else "")
    if not selection.groups and not selection.sweeps:
        raise TP1Error(selection.complaint() or str(nothing_found(reader, experiments, limits)))
    groups = sort_groups(selection.groups, sort) if selection.groups else []
    pairs: dict[str, Paired] = {}
    alone: list[Group] = []
    complaint = selection.complaint()
    if against is not None:
        is_there = experiments is None and started is None  # else it is looked for, of any time
        baseline = selection if is_there else select(reader, catalog, [against], dataset)
        others = groups_named(against, baseline.groups, catalog)
        if not others:
            raise nothing_found(reader, [against], f" on {dataset}" if dataset else "")
        pairs, alone = compare_pairs(reader, groups, others)
        complaint = complaint or baseline.complaint()
    evaluations = find_evaluations(reader.uri, dataset)
    files = comparison_files(groups, pairs, selection.sweeps, reader, evaluations)
    if to is not None:
        write_files(to, files)
    run.log_files(files)
    swept = f" and {len(selection.sweeps)} sweeps" if selection.sweeps else ""
    run.log_note(f"**compare**: {len(groups)} configurations{swept}. See compare.html.\n\n    {run.command}\n")
    if format is not None:
        print_data(comparison_text(groups, files, format))
        if selection.sweeps:
            click.echo(f"{len(selection.sweeps)} sweeps are not among the rows: see compare.html.", err=True)
    else:
        _print_tables(groups, selection)
    if complaint is not None:
        raise TP1Error(complaint)
    return [
        *(f"{title}: {paired_sentence(pair)}" for title, pair in pairs.items()),
        *(f"{unique_label(one, groups)}: no run of {against} was tested on the same images." for one in alone),
        *([f"Written to {to}"] if to else []),
    ]


def _print_tables(groups: Sequence[Group], selection: Selection) -> None:
    shown = groups[:ROWS]
    tables = [summary_table(shown, TEXTS["en"], times=True, parameters=parameters_of(shown))] if shown else []
    tables += [sweeps_table(selection.sweeps, TEXTS["en"])] if selection.sweeps else []
    for one in tables:
        if left_out := print_table(one, fit=True):
            say(f"Too wide for this terminal, but in compare.html: {', '.join(left_out)}.")
    if any(one.is_of_last_epoch for one in shown):
        say(LAST_EPOCH)
    if len(groups) > ROWS:
        say(f"{ROWS} of {len(groups):,} rows; compare.csv has all.")
