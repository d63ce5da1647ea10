"""``tp1 cache``: list or clear the caches of decoded images and frozen features on this machine."""

import click

from tp1.base.folders import check_readable
from tp1.commands.command import Command
from tp1.data.cache_folder import cache_dir, clear, entries


def _cache(clear_it: bool) -> None:
    folder = cache_dir()
    check_readable(folder, "TP1_CACHE_DIR")
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
