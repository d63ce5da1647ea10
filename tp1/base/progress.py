"""Progress bars on a terminal, nothing elsewhere."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from tp1.base.names import printable_lines

T = TypeVar("T")


def progress(items: Iterable[T], title: str, total: int | None = None, unit: str = "img") -> Iterable[T]:
    """Return ``items`` with a progress bar that shows rate and remaining time during iteration.

    The bar is written to standard error, and only if that is a terminal.
    """
    return tqdm(items, title, total, unit=unit, leave=False, disable=None)


def progress_bar(total: int, title: str, unit: str = "img", initial: int = 0) -> "tqdm[Any]":
    """Return a bar that the caller advances, starting at ``initial``; like :func:`progress`, only on a terminal."""
    return tqdm(total=total, initial=initial, desc=title, unit=unit, leave=False, disable=None)


@contextmanager
def silent() -> Iterator[None]:
    """Inside the block, nothing is written to standard output and standard error."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def say(text: str) -> None:
    """Print lines above any progress bar; names in them may hold any character."""
    try:
        tqdm.write(printable_lines(text))
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output()


def drop_output() -> None:
    """Let standard output lead nowhere: whoever read it is gone, which is no fault, and the work goes on."""
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - no path but the system's own
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
