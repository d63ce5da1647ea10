"""The report, rebuilt from tracked runs: docs/RESULTS.md and one self-contained HTML file.

Repeat: mlflow run . -e report
"""

import os
from collections.abc import Callable
from pathlib import Path

import click

from experiments.compare import TRACKING_URI
from tp1.base.errors import TP1Error
from tp1.base.folders import write_files
from tp1.commands.cli import tracked_command
from tp1.experiment import Experiment, Study
from tp1.report.details import read_details, read_look
from tp1.report.page import Page, to_html, to_markdown
from tp1.report.report_page import chosen_groups, report_page
from tp1.report.selection import select
from tp1.store.prepare import address, prepare_store
from tp1.store.runs import RunReader, TrainedRun
from tp1.tracking import tool_run as tracking

LOOKS = (("1.1", "cifar10"), ("2", "eurosat"))  # where the report looks at data, and at which
OUTPUT = Path("docs")
TO = click.Option(
    ["--to"], type=click.Path(path_type=Path, file_okay=False), help=f"Write the report here.  [default: {OUTPUT}]"
)


def entries() -> list[Experiment | Study | tuple[str, str]]:
    """The sections of the report in order; looks at data stand before the experiments of their chapter."""
    from experiments.catalog import catalog  # here, for the catalog imports this module

    found: list[Experiment | Study | tuple[str, str]] = []
    looks = list(LOOKS)
    for entry in catalog():
        while looks and (entry.section or "~") > looks[0][0]:
            found.append(looks.pop(0))
        found.append(entry)
    return [*found, *looks]


def report(command: str, language: str = "en", to: Path = OUTPUT, tracking_uri: str | None = None) -> list[str]:
    """Write the report, and log it as artifacts of the active run."""
    reader = RunReader(prepare_store(tracking_uri))
    sections = entries()
    selection = select(reader, [entry for entry in sections if not isinstance(entry, tuple)])
    details = read_details(chosen_groups(sections, selection.groups), reader)
    looks = {
        dataset: read_look(dataset, run_id, reader)
        for dataset, run_id in reader.find_looks().items()
        if dataset in {dataset for _, dataset in LOOKS}
    }

    def page(link: Callable[[TrainedRun], str]) -> Page:
        return report_page(sections, selection.groups, details, looks, language, link)

    def in_ui(run: TrainedRun) -> str:
        return address(reader.uri, f"experiments/{run.mlflow_experiment}/runs/{run.run_id}")

    def in_repository(run: TrainedRun) -> str:
        record = Path(run.record)
        is_there = run.record and not record.is_absolute() and record.parts[0] == "reference" and record.is_dir()
        return os.path.relpath(record, to) if is_there else in_ui(run)

    markdown, figures = to_markdown(page(in_repository), "figures")
    files = {f"figures/{name}": content for name, content in figures.items()}
    files |= {"RESULTS.md": markdown.encode(), "report.html": to_html(page(in_ui)).encode()}
    write_files(to, files)
    tracking.log_files(files)
    tracking.log_note(f"**report**: see report.html among the artifacts.\n\n    {command}\n")
    if (complaint := selection.complaint()) is not None:
        raise TP1Error(complaint)
    return [f"Written: {to / 'report.html'} and {to / 'RESULTS.md'}"]


command = tracked_command(
    "report",
    "Rebuild every table and figure of the report from tracked runs, as one HTML file and as docs/RESULTS.md.",
    [
        click.Option(["--language"], type=click.Choice(["en", "pt"]), help="Of the fixed texts.  [default: en]"),
        TO,
        TRACKING_URI,
    ],
    report,
)

if __name__ == "__main__":
    command()
