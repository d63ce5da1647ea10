"""``tp1 export`` and ``tp1 import``: write finished runs as small folders, and load them into a tracking store."""

from pathlib import Path

import click

from tp1.commands.command import Command
from tp1.commands.reference import export_run, import_runs
from tp1.store.addresses import masked
from tp1.store.prepare import prepare_store

REFERENCE = Path("reference")


def _export(run_ids: tuple[str, ...], to: Path, replace: bool) -> None:
    prepare_store()
    for run_id in run_ids:
        target = export_run(run_id, to, replace=replace)
        size = sum(path.stat().st_size for path in target.iterdir())
        click.echo(f"{target}  {size / 1000:,.0f} kB")


def _import(folder: Path) -> None:
    click.echo(f"Tracking in {masked(prepare_store())}")
    new = 0
    for path, run_id in import_runs(folder):
        new += run_id is not None
        click.echo(f"{path}  {'is there already' if run_id is None else f'run {run_id}'}")
    click.echo(f"{new} new reference runs.")


export_command = Command(
    "export",
    callback=_export,
    help="Write finished runs as small folders of JSON and parquet, without their models.",
    params=[
        click.Argument(["run_ids"], nargs=-1, required=True, metavar="RUN_ID..."),
        click.Option(["--replace"], is_flag=True, help="Write over another run's record of the same name."),
        click.Option(["--to"], type=click.Path(path_type=Path), default=REFERENCE, show_default=True, help="Folder."),
    ],
)

import_command = Command(
    "import",
    callback=_import,
    help="Load exported runs into the tracking store, marked as reference, each once.",
    params=[click.Argument(["folder"], type=click.Path(path_type=Path), default=REFERENCE)],
)
