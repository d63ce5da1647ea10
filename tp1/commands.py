"""Commands that look after runs; they are no entry points of the MLflow project."""

import os
from collections import Counter
from pathlib import Path

import click

from tp1.cache import cache_dir, clear, entries
from tp1.cli import Command
from tp1.reference import export_run, import_runs
from tp1.server_env import write_server_env
from tp1.store import how_to_open, masked, prepare_store

REFERENCE = Path("reference")


def _store(quiet: bool) -> None:
    uri = prepare_store()
    click.echo(uri if quiet else f"Tracking in {masked(uri)}, to be seen at {how_to_open(uri)}")


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


store_command = Command(
    "store",
    callback=_store,
    help="Make sure that the tracking store is there, and say where.",
    params=[click.Option(["--quiet"], is_flag=True, help="Print its URI alone.")],
)


def _cache(clear_it: bool) -> None:
    folder = cache_dir()
    for entry in entries(folder):
        click.echo(f"{entry.size / 1e6:10,.1f} MB  {entry.name}")
    if clear_it:
        freed, busy = clear(folder)
        click.echo(f"{freed / 1e6:10,.1f} MB  freed in {folder}")
        for name in busy:
            click.echo(f"{name} is in use and was left.")
    else:
        click.echo(
            f"{sum(entry.size for entry in entries(folder)) / 1e6:10,.1f} MB  in {folder} (tp1 cache --clear frees it)"
        )


cache_command = Command(
    "cache",
    callback=_cache,
    help="Show what the caches of decoded images and frozen features hold.",
    params=[click.Option(["--clear", "clear_it"], is_flag=True, help="Remove all of it; it is made anew when needed.")],
)

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


def _server_init(to: Path) -> None:
    write_server_env(to)
    click.echo(f"Secrets written to {to}. Start the server: docker compose up --detach --build (docs/SERVER.md)")


server_init_command = Command(
    "server-init",
    callback=_server_init,
    help="Write random passwords for a team's tracking server, for Compose to read.",
    params=[click.Option(["--to"], type=click.Path(path_type=Path), default=".env", show_default=True, help="File.")],
)


def _migrate(source: str, prefix: str) -> None:
    from tp1.migrate import migrate  # here, for few need it

    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines for every run
    counts: Counter[str] = Counter()
    for step in migrate(source, prefix):
        counts[step.outcome] += 1
        if step.outcome != "there":
            click.echo(f"{step.what}  {step.outcome}{f': {step.reason}' if step.reason else ''}")
    click.echo(f"{counts['copied']} copied, {counts['there']} there already, {counts['left']} left.")


migrate_command = Command(
    "migrate",
    callback=_migrate,
    help="Copy runs, models and the registry of another store (sqlite:///mlflow.db) into the one in use, each once.",
    params=[
        click.Argument(["source"], metavar="SOURCE_URI"),
        click.Option(["--prefix"], default="", help="Before the names of experiments, such as ana/."),
    ],
)


def _account(name: str) -> None:
    from tp1.accounts import add_account

    password = add_account(name)
    click.echo(f"MLFLOW_TRACKING_USERNAME={name}\nMLFLOW_TRACKING_PASSWORD={password}")


account_command = Command(
    "account",
    callback=_account,
    help="Make an account on the team's server, as its administrator, and print its password, once.",
    params=[click.Argument(["name"])],
)


def _share(name: str, **what: str) -> None:
    from tp1.accounts import share

    share(name, **what)


share_command = Command(
    "share",
    callback=_share,
    help="Let an account change an experiment or a registered model of yours.",
    params=[
        click.Argument(["name"]),
        click.Option(["--experiment"], metavar="NAME", help="An MLflow experiment."),
        click.Option(["--model"], metavar="NAME", help="A registered model, such as tp1-cifar10."),
        click.Option(
            ["--permission"],
            type=click.Choice(["READ", "EDIT", "MANAGE"]),
            default="EDIT",
            show_default=True,
            help="MANAGE also deletes and shares.",
        ),
    ],
)
