"""Downloads into a data directory, by one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock


@contextmanager
def alone(data_dir: Path) -> Iterator[None]:
    """Let only one process at a time download into a data directory."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(data_dir / ".tp1-download.lock"):
        yield
