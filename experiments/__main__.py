"""The ``tp1`` command: every experiment and tool in this folder, and the commands that look after runs."""

from pathlib import Path

import click

from experiments.catalog import command_of, modules, render_mlproject
from tp1.commands.maintenance import (
    account_command,
    cache_command,
    export_command,
    import_command,
    migrate_command,
    runs_command,
    server_init_command,
    share_command,
    store_command,
    sync_command,
)

mlproject_command = click.Command(
    "mlproject",
    callback=lambda: Path("MLproject").write_text(render_mlproject()),
    help="Write MLproject anew from the modules in experiments/ (make mlproject).",
)


@click.group(help="Experiments tracked with MLflow: train, look at data, keep and load runs.")
@click.version_option(package_name="tp1")
def main() -> None:
    """Entry point of the ``tp1`` command."""


for _module in modules():
    main.add_command(command_of(_module))
for _command in (
    *(cache_command, export_command, import_command, runs_command, store_command, sync_command),
    mlproject_command,
):
    main.add_command(_command)
for _command in (server_init_command, migrate_command, account_command, share_command):
    main.add_command(_command)

if __name__ == "__main__":
    main(prog_name="python -m experiments")
