"""A copy of an SQLite database before something is changed in it that cannot be taken back."""

import sqlite3
from contextlib import closing
from pathlib import Path

from tp1.base.errors import TP1Error


def keep_copy(database: Path, why: str) -> Path:
    """Copy a database, with what other processes have written so far, to a new file beside it; return its path.

    Args:
        why: Becomes part of the file's name, such as ``before-upgrade``.

    Raises:
        TP1Error: The copy cannot be written; nothing of it is left.
    """
    copy = database.with_name(f"{database.name}.{why}")
    number = 1
    while copy.exists():
        number += 1
        copy = database.with_name(f"{database.name}.{why}-{number}")
    partial = copy.with_name(f"{copy.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        _copy(database, partial)
        partial.rename(copy)
    except (OSError, sqlite3.Error) as error:
        partial.unlink(missing_ok=True)
        raise TP1Error(f"cannot keep a copy of {database} as {copy} ({error}): nothing was changed.") from error
    return copy


def restore(database: Path, copy: Path) -> None:
    """Make a database what it was when it was copied; other processes may have it open."""
    _copy(copy, database)


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)
