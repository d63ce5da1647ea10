"""``tp1 store``: prepare the tracking store in use and print its address; mend it where that needs a decision."""

from pathlib import Path

import click

from tp1.base.errors import TP1Error
from tp1.commands.command import Command
from tp1.store.addresses import how_to_open, is_sqlite, masked, sqlite_path
from tp1.store.places import Relocated, relocate
from tp1.store.prepare import open_sqlite, prepare_store, store_in_use
from tp1.store.schema import upgrade
from tp1.tracking.run_folders import change_store

SHOWN = 3  # folders that stay where they are, by name


def _store(action: str | None, quiet: bool) -> None:
    if action is not None:
        given = store_in_use()
        _check_file(given, action)
        for line in [upgrade(given)] if action == "upgrade" else _relocate(given):
            click.echo(line, err=quiet)
    uri = prepare_store()
    click.echo(uri if quiet else f"Tracking in {masked(uri)}, to be seen at {how_to_open(uri)}")


def _check_file(uri: str, action: str) -> None:
    if not is_sqlite(uri):
        raise TP1Error(f"{masked(uri)} is no SQLite database: there is nothing to {action} here.")
    if not sqlite_path(uri).is_file():
        raise TP1Error(f"there is no database {sqlite_path(uri)}: set MLFLOW_TRACKING_URI to the one to {action}.")


def _relocate(uri: str) -> list[str]:
    path = sqlite_path(uri)
    open_sqlite(uri)
    done = relocate(uri)
    for move in done.moves:  # runs that go on here were begun there
        before = move.recorded / path.relative_to(move.here)
        if not before.exists():
            change_store(f"sqlite:///{before}", uri)
    return _lines(done, path)


def _lines(done: Relocated, path: Path) -> list[str]:
    if done.copy is None:
        return [f"Nothing to relocate: the files are where {path} records them."]
    before = ", ".join(str(move.recorded) for move in done.moves)
    lines = [
        f"{done.changed} locations below {before} are now recorded in {done.moves[0].here}; {done.copy} is the "
        "database as it was."
    ]
    if done.stayed:
        shown = ", ".join(map(str, done.stayed[:SHOWN])) + (", ..." if len(done.stayed) > SHOWN else "")
        lines.append(f"{len(done.stayed)} folders lie there alone, and stay recorded there: {shown}")
    return lines


store_command = Command(
    "store",
    callback=_store,
    help="Make sure that the tracking store is there, and say where.\n\nrelocate: record the files of its runs beside "
    "the database, after its folder was moved or copied. upgrade: make an older MLflow's database one of this MLflow. "
    "Both keep a copy of the database.",
    params=[
        click.Argument(["action"], type=click.Choice(["relocate", "upgrade"]), required=False),
        click.Option(["--quiet"], is_flag=True, help="Print its URI alone."),
    ],
)
