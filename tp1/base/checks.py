"""Checks of parameters: what is out of range is said in one line, with the range."""

import math
from collections.abc import Iterable
from pathlib import Path

from tp1.base.errors import TP1Error
from tp1.base.names import LONGEST_PATH, is_plain


def check(name: str, value: float, ok: bool, expected: str) -> None:
    """Raise TP1Error unless ``ok``, or if a number is not finite."""
    # Infinity passes most range checks, so finiteness is checked too. Integers skip that check: isfinite raises
    # OverflowError for those too large for a float.
    if not (ok and (isinstance(value, int) or math.isfinite(value))):
        raise TP1Error(f"{name}={value} is out of range: it must be {expected}.")


def check_text(name: str, value: str | Path | None) -> None:
    """Refuse text that a file system or MLflow rejects, or that could control a terminal."""
    text = "x" if value is None else str(value)
    if not text.strip() or not is_plain(text) or len(text.encode()) > LONGEST_PATH:
        raise TP1Error(
            f"{name}={text} is not usable: it must be text of 1 to {LONGEST_PATH} bytes without control characters, "
            "in UTF-8."
        )


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise TP1Error unless ``value`` is one of ``choices``."""
    if value not in (known := list(choices)):
        raise TP1Error(f"{name}={value} is not known: choose {' or '.join(known)}.")
