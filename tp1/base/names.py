"""Names and paths from a command line, a file system or a tracking store, which may hold any character."""

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

LONGEST_PATH = 4096  # bytes, the limit of Linux; MLflow limits a parameter to 6,000 characters
LONGEST_LINE = 2000  # characters of a message


def printable(text: str) -> str:
    """Return a text as one line for a terminal, a table or a page; unprintable characters are escaped as in Python."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def printable_lines(text: str) -> str:
    """Return a text of several lines with each line made :func:`printable`."""
    return "\n".join(printable(line) for line in text.split("\n"))


def message_line(text: str) -> str:
    """Return a message as one line; beyond :data:`LONGEST_LINE` characters its middle is left out."""
    line = printable(text)
    if len(line) <= LONGEST_LINE:
        return line
    kept = LONGEST_LINE // 2
    return f"{line[:kept]} [... {len(line) - 2 * kept:,} characters ...] {line[-kept:]}"


def some(texts: Sequence[str], most: int, separator: str = ", ") -> str:
    """Return the first ``most`` texts joined, and the number of the others: ``a, b and 3 more``."""
    more = f" and {len(texts) - most:,} more" if len(texts) > most else ""
    return f"{separator.join(texts[:most])}{more}"


def whole_number(text: str) -> int | None:
    """Return a text of digits as a number, if that fits 63 bits; None for any other text."""
    return number if text.isdecimal() and len(text) <= 19 and (number := int(text)) < 2**63 else None


def is_plain(text: str) -> bool:
    """Whether a text can be stored and shown unchanged: no control characters or line separators, only valid UTF-8."""
    return not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in text)


def user_path(path: str | Path) -> Path:
    """Return ``path`` with ``~`` expanded if that user exists; pathlib would raise for an unknown user."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


def is_folder(path: Path) -> bool:
    """Whether the folder exists; pathlib would raise for a name that is too long for the file system."""
    return os.path.isdir(path)  # noqa: PTH112


def is_file(path: Path) -> bool:
    """Whether the file exists and is no pipe or device, whose reading might never end; see :func:`is_folder`."""
    return os.path.isfile(path)  # noqa: PTH113
