"""What a migration says of each object, and how it reads and writes long lists."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

PAGE = 200  # entries per search request


@dataclass(frozen=True)
class Copied:
    """The outcome for one object of the source store.

    Attributes:
        what: The object, such as ``run cnnv3-s0``.
        outcome: ``copied``, ``there`` (the target already had it), ``left`` (not to be copied) or ``failed``.
        reason: Why it was left or failed; for a copied version with another number, the new number.
    """

    what: str
    outcome: str
    reason: str = ""


def pages(search: Any, **conditions: Any) -> Iterator[Any]:
    """Yield all results of one of MLflow's searches, which it reads page by page."""
    token = None
    while True:
        page = search(max_results=PAGE, page_token=token, **conditions)
        yield from page
        if not (token := page.token):
            return


def batches(entries: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield entries in lists of at most ``size``."""
    batch: list[Any] = []
    for entry in entries:
        batch.append(entry)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
