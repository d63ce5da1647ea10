"""The report, built from tracked runs: docs/RESULTS.md and one self-contained HTML file.

Repeat: mlflow run . -e report
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from tp1.base.errors import TP1Error
from tp1.base.folders import check_writable, write_files
from tp1.commands.command import Command
from tp1.commands.compare import TRACKING_URI
from tp1.commands.tool import tool_command
from tp1.experiment import Experiment, Study
from tp1.registry.evaluations import find_evaluations
from tp1.report.comparison import chosen_groups
from tp1.report.details import read_details, read_looks
from tp1.report.evaluations import evaluations_section
from tp1.report.page import relinked
from tp1.report.page_html import to_html
from tp1.report.page_markdown import to_markdown
from tp1.report.report_page import report_page
from tp1.report.selection import select
from tp1.store.addresses import address, run_page
from tp1.store.prepare import existing_store
from tp1.store.reader import RunReader
from tp1.store.runs import TrackedRun
from tp1.tracking.tool_run import ToolRun

LOOKS = (("1.1", "cifar10"), ("2", "eurosat"))  # sections of the report that show a data set, and which one
OUTPUT = Path("docs")
TO = click.Option(
    ["--to"], type=click.Path(path_type=Path, file_okay=False), help=f"Write the report here.  [default: {OUTPUT}]"
)


def report_command(catalog: Sequence[Experiment | Study]) -> Command:
    """Return the command ``report``."""
    return tool_command(
        "report",
        "Rebuild every table and figure of the report from tracked runs, as one HTML file and as docs/RESULTS.md.",
        [
            click.Option(["--language"], type=click.Choice(["en", "pt"]), help="Of the fixed texts.  [default: en]"),
            TO,
            TRACKING_URI,
        ],
        partial(report, catalog),
    )


def sections_of(catalog: Sequence[Experiment | Study]) -> list[Experiment | Study | tuple[str, str]]:
    """Return the sections of the report in order.

    Those of :data:`LOOKS`, as (section, data set), come before the experiments of their chapter.
    """
    found: list[Experiment | Study | tuple[str, str]] = []
    looks = list(LOOKS)
    for entry in catalog:
        while looks and (entry.section or "~") > looks[0][0]:
            found.append(looks.pop(0))
        found.append(entry)
    return [*found, *looks]


def report(
    catalog: Sequence[Experiment | Study],
    run: ToolRun,
    language: str = "en",
    to: Path = OUTPUT,
    tracking_uri: str | None = None,
) -> list[str]:
    """Write the report to ``to`` and log it as artifacts of ``run``; return the lines to print.

    Raises:
        TP1Error: The report cannot be written, or incomplete runs were left out of it (raised last).
    """
    check_writable(to)
    reader = RunReader(existing_store(tracking_uri))
    sections = sections_of(catalog)
    selection = select(reader, catalog)
    details = read_details(chosen_groups(sections, selection.groups), reader)
    looks = read_looks([dataset for _, dataset in LOOKS], reader)

    own = {dataset for _, dataset in LOOKS}
    evaluations = [one for one in find_evaluations(reader.uri) if one.dataset in own and one.part == "test"]

    def in_ui(one: TrackedRun) -> str:
        return address(reader.uri, run_page(one.mlflow_experiment, one.run_id))

    def in_repository(one: TrackedRun) -> str:
        record = Path(one.record)
        is_there = one.record and not record.is_absolute() and record.parts[:1] == ("reference",) and record.is_dir()
        return os.path.relpath(record, to) if is_there else in_ui(one)

    page = report_page(sections, selection.groups, details, looks, selection.sweeps, language, in_ui)
    if evaluations:
        *before, made = page.sections
        page = replace(page, sections=[*before, evaluations_section(evaluations, language), made])
    runs = [one for group in selection.groups for one in group.runs]
    markdown, figures = to_markdown(relinked(page, {in_ui(one): in_repository(one) for one in runs}), "figures")
    files = {f"figures/{name}": content for name, content in figures.items()}
    files |= {"RESULTS.md": markdown.encode(), "report.html": to_html(page).encode()}
    write_files(to, files)
    run.log_files(files)
    run.log_note(f"**report**: see report.html among the artifacts.\n\n    {run.command}\n")
    if (complaint := selection.complaint()) is not None:
        raise TP1Error(complaint)
    return [f"Written: {to / 'report.html'} and {to / 'RESULTS.md'}"]
