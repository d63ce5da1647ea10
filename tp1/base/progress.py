"""Progress bars on a terminal, nothing elsewhere."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TypeVar

from tqdm import tqdm

from tp1.base.names import printable_lines

T = TypeVar("T")


def progress(items: Iterable[T], title: str, total: int | None = None, unit: str = "img") -> Iterable[T]:
    """``items``, with a bar that shows rate and remaining time while they are taken.

    The bar goes to standard error, and only where that is a terminal.
    """
    return tqdm(items, title, total, unit=unit, leave=False, disable=None)


def progress_bar(total: int, title: str, unit: str = "img", initial: int = 0) -> "tqdm[Any]":
    """A bar to advance by hand, from ``initial``; like :func:`progress`, only on a terminal."""
    return tqdm(total=total, initial=initial, desc=title, unit=unit, leave=False, disable=None)


def say(text: str) -> None:
    """Print lines above whatever bar is showing; names in them may hold any character."""
    with suppress(BrokenPipeError):  # whoever was reading is gone; what is being done is not
        tqdm.write(printable_lines(text))
