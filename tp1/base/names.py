"""Names and paths from outside: a command line, a file system or a tracking store lets them hold any character."""

import os
import unicodedata
from pathlib import Path

LONGEST_PATH = 4096  # bytes; Linux takes no longer one, and MLflow no parameter of more than 6,000 characters
LONGEST_LINE = 2000  # characters of a message


def printable(text: str) -> str:
    """A text as one line that a terminal, a table and a page can show: what cannot be printed, as Python escapes it."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def printable_lines(text: str) -> str:
    """A text of several lines, each made :func:`printable`."""
    return "\n".join(printable(line) for line in text.split("\n"))


def message_line(text: str) -> str:
    """A message as one line of bounded length; of a long one the middle is left out."""
    line = printable(text)
    if len(line) <= LONGEST_LINE:
        return line
    kept = LONGEST_LINE // 2
    return f"{line[:kept]} [... {len(line) - 2 * kept:,} characters ...] {line[-kept:]}"


def whole_number(text: str) -> int | None:
    """A text of digits as a number, or None; what does not fit 63 bits, as a tag may say, is none."""
    return int(text) if text.isdecimal() and len(text) <= 18 else None


def is_plain(text: str) -> bool:
    """Whether a text can be stored and shown as it is: no control characters, and no bytes that are not UTF-8."""
    return not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in text)


def user_path(path: str | Path) -> Path:
    """``path`` with ``~`` replaced where it names a user that there is; pathlib would raise where there is none."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; pathlib would raise where the name is longer than the file system takes."""
    return os.path.isdir(path)  # noqa: PTH112


def is_file(path: Path) -> bool:
    """Whether there is such a file, and no pipe or device, whose reading might never end; see :func:`is_folder`."""
    return os.path.isfile(path)  # noqa: PTH113
