"""Tables on a terminal."""

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from tp1.base.names import printable
from tp1.report.page import Table, numeric_columns

WIDE = 220  # columns, if output goes to a file or a pipe


def print_table(table: Table) -> None:
    """Print a table; cells wrap on a narrow terminal. Their text is shown literally: no markup, no control codes."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDE)
    shown = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name, right in zip(table.columns, numeric_columns(table), strict=True):
        shown.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(printable(cell if isinstance(cell, str) else cell.text)) for cell in row))
    console.print(shown)
