"""``tp1 store``: prepare the tracking store in use and print its address."""

import click

from tp1.commands.command import Command
from tp1.store.addresses import how_to_open, masked
from tp1.store.prepare import prepare_store


def _store(quiet: bool) -> None:
    uri = prepare_store()
    click.echo(uri if quiet else f"Tracking in {masked(uri)}, to be seen at {how_to_open(uri)}")


store_command = Command(
    "store",
    callback=_store,
    help="Make sure that the tracking store is there, and say where.",
    params=[click.Option(["--quiet"], is_flag=True, help="Print its URI alone.")],
)
