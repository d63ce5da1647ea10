"""Commands that look after runs; they are no entry points of the MLflow project."""

import os
from collections import Counter
from datetime import datetime
from pathlib import Path

import click

from tp1.base.errors import TP1Error
from tp1.base.names import printable
from tp1.commands.cli import Command
from tp1.commands.reference import export_run, import_runs
from tp1.commands.server_env import write_server_env
from tp1.data.cache import cache_dir, clear, entries
from tp1.report.page import Table
from tp1.report.terminal import print_table
from tp1.store.prepare import how_to_open, masked, prepare_store
from tp1.tracking.delivery import close_run, send_waiting
from tp1.tracking.outbox import entry_paths
from tp1.tracking.run_folders import folders, is_held, sweep
from tp1.tracking.unfinished import RUNNING, STALE, find_unfinished_runs, local_folders

REFERENCE = Path("reference")
SYNC_PATIENCE = 20.0  # seconds without an answer


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


def _runs(stale: bool, close: tuple[str, ...]) -> None:
    click.echo(f"Tracking in {masked(prepare_store())}")
    for run_id in close:
        close_run(run_id)
        click.echo(f"Run {run_id} is closed.")
    if close:
        return
    found = [run for run in find_unfinished_runs() if not stale or run.state == STALE]
    if not found:
        click.echo("No stale runs." if stale else "No unfinished runs.")
        return
    rows = [
        (
            printable(run.name),
            run.state,
            f"{datetime.fromtimestamp(run.started / 1000):%Y-%m-%d %H:%M}",
            "-" if run.epochs is None else f"epoch {run.epochs}",
            f"{run.size / 1e6:.1f} MB" if run.size else "-",
            run.run_id,
        )
        for run in found
    ]
    print_table(Table(("run", "state", "started", "checkpoint", "on disk", "run id"), rows))
    if any(run.resumable for run in found):
        click.echo("Go on with one that has a checkpoint or was just begun:  mlflow run . -e NAME -P resume=RUN_ID")
    if any(run.state == "unsent" for run in found):
        click.echo("Send what is unsent:  tp1 sync")
    if any(run.state not in (RUNNING, "unsent") for run in found):
        click.echo("Give one up, and free its disk space:  tp1 runs --close RUN_ID")


def _sync() -> None:
    uri = prepare_store()
    click.echo(f"Tracking in {masked(uri)}")
    sweep()
    sent, failed = 0, 0
    for folder in local_folders():
        count = len(entry_paths(folder.outbox))
        if is_held(folder.run_id):  # its own process sends what it has
            continue
        try:
            run = send_waiting(folder, SYNC_PATIENCE)
        except TP1Error as error:
            if count:
                failed += 1
                click.echo(f"Run {folder.run_id}: {error}", err=True)
        else:
            if count:
                sent += 1
                click.echo(f"Run {folder.run_id}: {count} entries sent; it is {run.info.status}.")
    if failed:
        raise TP1Error(f"{failed} of {sent + failed} runs could not be sent; what is left stays for the next tp1 sync.")
    if not sent:
        click.echo("Nothing waits to be sent.")
    others = {folder.store() for folder in folders() if entry_paths(folder.outbox)} - {masked(uri)}
    for other in sorted(others):
        click.echo(f"Something waits for another tracking store: MLFLOW_TRACKING_URI={other}")


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

runs_command = Command(
    "runs",
    callback=_runs,
    help="Show the runs that are not finished: which are running, which were left behind, what can be gone on with.",
    params=[
        click.Option(["--stale"], is_flag=True, help="Only those that say they are running and whose process is gone."),
        click.Option(
            ["--close"], multiple=True, metavar="RUN_ID", help="Give this run up: KILLED, its checkpoints removed."
        ),
    ],
)

sync_command = Command(
    "sync", callback=_sync, help="Send what runs could not send while the tracking server was away.", params=[]
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
    from tp1.registry.migrate import migrate  # here, for few need it

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
    from tp1.store.accounts import add_account

    password = add_account(name)
    click.echo(f"MLFLOW_TRACKING_USERNAME={name}\nMLFLOW_TRACKING_PASSWORD={password}")


account_command = Command(
    "account",
    callback=_account,
    help="Make an account on the team's server, as its administrator, and print its password, once.",
    params=[click.Argument(["name"])],
)


def _share(name: str, **what: str) -> None:
    from tp1.store.accounts import share

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
