"""Commands for a team's tracking server: its secrets, its accounts, and migration from another store."""

import os
from collections import Counter
from pathlib import Path

import click

from tp1.base.errors import TP1Error
from tp1.commands.command import Command
from tp1.commands.server_env import write_server_env


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
    from tp1.registry.migrate import migrate  # imported late, because few commands need it

    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # else MLflow prints two lines per run
    counts: Counter[str] = Counter()
    for step in migrate(source, prefix):
        counts[step.outcome] += 1
        if step.outcome != "there":
            click.echo(f"{step.what}  {step.outcome}{f': {step.reason}' if step.reason else ''}")
    failed = f", {counts['failed']} failed" if counts["failed"] else ""
    click.echo(f"{counts['copied']} copied, {counts['there']} there already, {counts['left']} left{failed}.")
    if failed:
        raise TP1Error(
            f"{counts['failed']} of {source} could not be copied, for the reasons above: mend them there, and migrate "
            "again."
        )


migrate_command = Command(
    "migrate",
    callback=_migrate,
    help="Copy runs, models and the registry of another store (sqlite:///mlflow.db, or a file store's folder) into the "
    "one in use, each once.",
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
