"""What a run has to tell its tracking store: on disk first, then sent in order, again and again until it is there.

Sending happens in a thread, so that training does not wait for a server, slow or away. Each entry can be sent twice
without harm, so that one whose answer was lost, or whose sender was killed, is simply sent again.
"""

import json
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tp1.base.errors import TP1Error
from tp1.base.folders import folder_size, whole_folder, write_synced
from tp1.base.progress import say

ENTRY = "entry.json"
FIRST_WAIT, LONGEST_WAIT = 1.0, 15.0  # seconds between attempts


@dataclass(frozen=True)
class Point:
    """One value of a metric.

    Attributes:
        time: Milliseconds since 1970, UTC. The store knows by it, the step and the value that it has a point already.
        of_model: Whether it belongs to the run's model too.
        dataset: Name and digest of the data set that it was measured on, or empty.
    """

    name: str
    value: float
    time: int
    step: int = 0
    of_model: bool = False
    dataset: tuple[str, str] | tuple[()] = ()


@dataclass(frozen=True)
class Entry:
    """What is sent as one.

    Attributes:
        folder: With ``files/`` (artifacts) and ``model/`` (an MLflow model), either or both, or None.
        status: The run ends with it; None: it goes on.
        end_time: Milliseconds since 1970, UTC, of the end.
    """

    points: Sequence[Point] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    status: str | None = None
    end_time: int | None = None
    folder: Path | None = None


class Outbox:
    """The outbox of one run.

    What an earlier process has left in it comes first.

    Args:
        path: Its folder; made when it is needed.
        deliver: Sends one entry; it raises where that fails.
        refused: Whether an error means that the store will never take an entry; sending stops then.
    """

    def __init__(self, path: Path, deliver: Callable[[Entry], object], refused: Callable[[Exception], bool]) -> None:
        self.path = path
        self.error: Exception | None = None  # of the last attempt
        self._deliver = deliver
        self._refused = refused
        self._waiting: deque[tuple[Path | None, Entry]] = deque((path, read_entry(path)) for path in entry_paths(path))
        self._number = max((int(path.name) for path, _ in self._waiting if path), default=0)
        self._ended = False
        self._end: Path | None = None  # where the entry that ends the run is being written
        self._putting = threading.Lock()
        self._changed = threading.Condition()
        self._stopped = False
        self._sending = False  # an attempt is under way, and may be a long upload
        self._thread = threading.Thread(target=self._send_all, name="outbox", daemon=True)
        self._thread.start()

    def put(self, entry: Entry, fill: Callable[[Path], None] | None = None) -> None:
        """Keep an entry and have it sent after all that were put before.

        Args:
            fill: Writes ``files/`` and ``model/`` into the folder that it is given.

        Raises:
            OSError: It cannot be written, and it has files. An entry without any is then kept in memory alone.
        """
        with self._putting:  # metrics of the machine come from a thread of their own
            self._number += 1
            target = self.path / f"{self._number:06d}"
            path: Path | None = target
            if entry.status is not None:
                self._end = target
            try:
                with whole_folder(target) as partial:
                    if fill is not None:
                        fill(partial)
                    write_synced(partial / ENTRY, json.dumps(_as_json(entry)))
            except OSError as error:
                if fill is not None:
                    raise
                say(f"Cannot write to {target} ({error.strerror}): what is to be sent is kept in memory alone.")
                path = None
            with self._changed:
                self._ended = self._ended or entry.status is not None
                self._waiting.append((path, replace(entry, folder=target if fill is not None else None)))
                self._changed.notify_all()

    def has_end(self) -> bool:
        """Whether an entry with a status was put; an interrupt may have come just when it was whole on disk."""
        return self._ended or (self._end is not None and (self._end / ENTRY).is_file())

    @property
    def waiting(self) -> int:
        """Entries that are not sent yet."""
        return len(self._waiting)

    def size(self) -> int:
        """Bytes that wait on disk."""
        return folder_size(self.path)

    def close(self, patience: float, at_most: float = float("inf")) -> bool:
        """Wait until all is sent, and stop.

        Args:
            patience: Give up where attempts have failed for so many seconds.
            at_most: Give up after so many seconds in any case.

        Returns:
            Whether all was sent. What was not stays on disk.
        """
        began = time.monotonic()
        with self._changed:
            failing_since = began
            before = len(self._waiting)
            self._changed.notify_all()
            while self._waiting and self._thread.is_alive():
                now = time.monotonic()
                if len(self._waiting) < before:
                    before, failing_since = len(self._waiting), now
                failing = self.error is not None and not self._sending and now - failing_since > patience
                if failing or now - began > at_most:
                    break
                self._changed.wait(0.2)
            self._stopped = True
            self._changed.notify_all()
            return not self._waiting

    def _send_all(self) -> None:
        wait = FIRST_WAIT
        while True:
            with self._changed:
                while not self._waiting and not self._stopped:
                    self._changed.wait()
                if self._stopped:
                    return
                path, entry = self._waiting[0]
            self._sending = True
            try:
                self._deliver(entry)
            except Exception as error:
                self._sending = False
                if not self._failed(error, wait):
                    return
                wait = min(2 * wait, LONGEST_WAIT)
                continue
            self._sending = False
            if path is not None:
                with suppress(OSError):  # a disk that cannot be written any more: it is sent again some day
                    remove_entry(path)
            with self._changed:
                if self.error is not None:
                    say("The tracking store answers again: what was kept is being sent.")
                self.error, wait = None, FIRST_WAIT
                self._waiting.popleft()
                self._changed.notify_all()

    def _failed(self, error: Exception, wait: float) -> bool:
        """Note and tell of a failed attempt, and wait; return whether to try again."""
        line = (str(error).splitlines() or [type(error).__name__])[0][:300]
        with self._changed:
            again = not self._refused(error)
            if self.error is None:
                after = "; trying on" if again else "; nothing more is sent now"
                say(f"The tracking store does not take what is sent ({line}). It is kept in {self.path}{after}.")
            self.error = error
            self._changed.notify_all()
            if again:
                self._changed.wait_for(lambda: self._stopped, wait)
            return again and not self._stopped


def entry_paths(path: Path) -> list[Path]:
    """The entries of an outbox, in order."""
    return sorted(entry.parent for entry in path.glob(f"[0-9]*/{ENTRY}"))


def read_entry(path: Path) -> Entry:
    """An entry from its folder.

    Raises:
        TP1Error: It is damaged.
    """
    try:
        facts = json.loads((path / ENTRY).read_text())
        points = [Point(**{**point, "dataset": tuple(point["dataset"])}) for point in facts.pop("points")]
        has_files = any((path / name).is_dir() for name in ("files", "model"))
        return Entry(**facts, points=points, folder=path if has_files else None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TP1Error(f"cannot read {path / ENTRY} ({error}): remove that folder; what it holds is lost.") from error


def remove_entry(path: Path) -> None:
    """Remove an entry; where that is cut off, what is left of it is no entry any more."""
    gone = path.with_name(f".{path.name}.sent")
    shutil.rmtree(gone, ignore_errors=True)
    path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _as_json(entry: Entry) -> dict[str, Any]:
    facts = asdict(entry)
    del facts["folder"]
    return facts
