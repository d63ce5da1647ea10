"""Tables on a terminal, and what other programs read of them."""

from itertools import accumulate

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from tp1.base.names import printable
from tp1.base.progress import drop_output
from tp1.report.page import Table, numeric_columns

WIDE = 220  # columns, if output goes to a file or a pipe
NAME = 20  # characters to which the text in a column may be folded, if it has longer words
GAP = 2


class _Console(Console):
    def on_broken_pipe(self) -> None:
        drop_output()


def print_table(table: Table, *, fit: bool = False) -> list[str]:
    """Print a table; texts in it fold on a narrow terminal. Cells are shown literally: no markup, no control codes.

    Args:
        fit: Leave out the last columns where even folded ones are too wide together.

    Returns:
        The names of the columns that were left out.
    """
    console: Console = _Console(highlight=False)
    if not console.is_terminal:
        console = _Console(highlight=False, width=WIDE)
    # What a column needs at least: a number its own width, a text the longest of its words.
    is_number = numeric_columns(table)
    texts = [[printable(cell if isinstance(cell, str) else cell.text) for cell in row] for row in table.rows]
    least = [
        max(cell_len(name), *(_least(row[place], is_number[place]) for row in texts), 1) + GAP
        for place, name in enumerate(table.columns)
    ]
    fitting = max(1, sum(end <= console.width + GAP for end in accumulate(least))) if fit else len(table.columns)
    shown = RichTable(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for name, right in zip(table.columns[:fitting], is_number, strict=False):
        shown.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=fit and right)
    for row in texts:
        shown.add_row(*(Text(cell) for cell in row[:fitting]))
    console.print(shown)
    return [*table.columns[fitting:]]


def _least(text: str, is_number: bool) -> int:
    """The columns that a cell needs: a number its own width, a text the longest of its words."""
    if is_number:
        return cell_len(text)
    return min(NAME, max(map(cell_len, text.split()), default=0))


def print_data(content: bytes) -> None:
    """Write what another program reads to standard output; if that program has ended, nothing happens."""
    try:
        click.echo(content, nl=False)
    except BrokenPipeError:
        drop_output()
