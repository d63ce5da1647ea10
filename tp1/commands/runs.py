"""``tp1 runs`` and ``tp1 sync``: list or close unfinished runs, and send what waits in their outboxes."""

from datetime import datetime

import click
from mlflow.exceptions import MlflowException

from tp1.base.errors import TP1Error
from tp1.base.interrupts import interruption
from tp1.commands.command import Command, one_line
from tp1.report.page import Inline, Table
from tp1.report.terminal import print_table
from tp1.store.addresses import masked
from tp1.store.prepare import prepare_store
from tp1.store.runs import TrackedRun
from tp1.tracking.delivery import close_run, send_waiting
from tp1.tracking.outbox import entry_paths
from tp1.tracking.ownership import is_held
from tp1.tracking.run_folders import RunFolder, folders, sweep
from tp1.tracking.unfinished import (
    RUNNING,
    STALE,
    UNSENT,
    find_abandoned,
    find_unfinished_runs,
    is_resumable,
    local_folders,
)

SYNC_PATIENCE = 20.0  # seconds of failing attempts after which to give up


def _runs(stale: bool, close: tuple[str, ...]) -> None:
    click.echo(f"Tracking in {masked(prepare_store())}")
    for run_id in close:
        close_run(run_id)
        click.echo(f"Run {run_id} is closed.")
    if close:
        return
    entries = list(find_unfinished_runs())
    found = [entry for entry in entries if not stale or entry[2] == STALE]
    abandoned = [] if stale else find_abandoned({run.run_id for run, _, _ in entries})
    if not found and not abandoned:
        click.echo("No stale runs." if stale else "No unfinished runs.")
        return
    print_table(
        Table(
            ("run", "state", "started", "checkpoint", "on disk", "run id"),
            [*(_row(*entry) for entry in found), *map(_abandoned_row, abandoned)],
        )
    )
    if any(is_resumable(folder, state) for _, folder, state in found):
        click.echo("Go on with one that has a checkpoint or was just begun:  mlflow run . -e NAME -P resume=RUN_ID")
    states = {state for _, _, state in found}
    if UNSENT in states:
        click.echo("Send what is unsent:  tp1 sync")
    if abandoned or states - {RUNNING, UNSENT}:
        click.echo("Give one up, and free its disk space:  tp1 runs --close RUN_ID")


def _row(run: TrackedRun, folder: RunFolder | None, state: str) -> list[Inline]:
    started = f"{datetime.fromtimestamp(run.start_time / 1000):%Y-%m-%d %H:%M}"
    return [run.name, state, started, *(_kept(folder) if folder else ("-", "-")), run.run_id]


def _abandoned_row(folder: RunFolder) -> list[Inline]:
    return ["-", "deleted", "-", *_kept(folder), folder.run_id]


def _kept(folder: RunFolder) -> tuple[str, str]:
    epochs, size = folder.epochs(), folder.size()
    return "-" if epochs is None else f"epoch {epochs}", f"{size / 1e6:.1f} MB" if size else "-"


def _sync() -> None:
    uri = prepare_store()
    click.echo(f"Tracking in {masked(uri)}")
    sweep()
    sent, busy, failed = 0, 0, 0
    for folder in local_folders():
        count = len(entry_paths(folder.outbox))
        if is_held(folder.run_id):  # the process that owns it sends its entries
            if count:
                busy += 1
                click.echo(f"Run {folder.run_id}: another process is at work on it; {count} entries wait there.")
            continue
        try:
            run = send_waiting(folder, SYNC_PATIENCE)
        except (TP1Error, MlflowException, OSError) as error:
            if (stop := interruption(error)) is not None:
                raise stop from error
            if count:
                failed += 1
                click.echo(f"Run {folder.run_id}: {one_line(error, where='')}", err=True)
            prepare_store()  # ends it here if the store is away: every further run would wait for it too
        else:
            if count:
                sent += 1
                click.echo(f"Run {folder.run_id}: {count} entries sent; it is {run.info.status}.")
    if failed:
        raise TP1Error(
            f"{failed} of {sent + failed} runs could not be sent; what is left stays for the next tp1 sync. A run that "
            "is deleted in the store is given up with: tp1 runs --close RUN_ID."
        )
    if not sent and not busy:
        click.echo("Nothing waits to be sent.")
    others = {folder.store() for folder in folders() if entry_paths(folder.outbox) and not folder.is_of(uri)}
    for other in sorted(others):
        click.echo(f"Something waits for another tracking store: MLFLOW_TRACKING_URI={other}")


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
