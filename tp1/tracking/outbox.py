"""The outbox of a run: what the run logs is written to disk, then sent to the tracking store in order, with retries.

A thread sends, so that training never waits for a slow or unreachable server. Sending an entry twice does no harm:
if the answer was lost or the sending process was killed, the entry is simply sent again.
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

from tp1.base.errors import TP1Error, why
from tp1.base.folders import folder_size, whole_folder, write_synced
from tp1.base.progress import say

ENTRY = "entry.json"
FIRST_WAIT, LONGEST_WAIT = 1.0, 15.0  # seconds between attempts


@dataclass(frozen=True)
class Point:
    """One value of a metric.

    Attributes:
        time: Milliseconds since 1970, UTC. Time, step and value identify a point that the store already has.
        of_model: Whether the value is also linked to the run's model.
        dataset: Name and digest of the data set that the value was measured on, or empty.
    """

    name: str
    value: float
    time: int
    step: int = 0
    of_model: bool = False
    dataset: tuple[str, str] | tuple[()] = ()


@dataclass(frozen=True)
class Entry:
    """One unit of sending: it is removed from the outbox once all of it is sent.

    Attributes:
        status: The final status of the run; None if the entry does not end the run.
        end_time: End of the run in milliseconds since 1970, UTC.
        folder: Holds ``files/`` (artifacts), ``model/`` (an MLflow model) or both; None without files.
    """

    points: Sequence[Point] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    status: str | None = None
    end_time: int | None = None
    folder: Path | None = None


class Outbox:
    """The outbox of one run; entries that an earlier process left in it are sent first.

    Args:
        path: The outbox's folder; created with the first entry.
        deliver: Sends one entry; raises if that fails.
        refused: Returns whether an error means that the store will never accept the entry; sending then stops.

    Attributes:
        sender: The thread that sends. It may outlive :meth:`close` by the entry that it is at.
    """

    def __init__(self, path: Path, deliver: Callable[[Entry], object], refused: Callable[[Exception], bool]) -> None:
        self.path = path
        self.error: Exception | None = None  # of the last attempt; None if it succeeded
        self._deliver = deliver
        self._refused = refused
        self._waiting: deque[tuple[Path | None, Entry]] = deque((path, read_entry(path)) for path in entry_paths(path))
        self._number = max((int(path.name) for path, _ in self._waiting if path), default=0)
        self._ended = False
        self._end: Path | None = None  # folder of the entry that ends the run, possibly still being written
        self._putting = threading.Lock()
        self._changed = threading.Condition()
        self._stopped = False
        self._sending = False  # an attempt is in progress; it may be a long upload
        self.sender = threading.Thread(target=self._send_all, name="outbox", daemon=True)
        self.sender.start()

    def put(self, entry: Entry, fill: Callable[[Path], None] | None = None) -> None:
        """Write an entry to disk and queue it for sending.

        Args:
            fill: Writes ``files/`` and ``model/`` into the folder that it gets; None for an entry without files.

        Raises:
            OSError: An entry with files cannot be written. One without files is then kept in memory only.
        """
        with self._putting:  # system metrics come from another thread
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
        """Whether the entry that ends the run was put; its file counts too, since an interrupt can cut ``put`` off."""
        return self._ended or (self._end is not None and (self._end / ENTRY).is_file())

    @property
    def waiting(self) -> int:
        """The number of entries that are not sent yet."""
        return len(self._waiting)

    def size(self) -> int:
        """Return the size of the outbox on disk in bytes."""
        return folder_size(self.path)

    def close(self, patience: float, at_most: float = float("inf")) -> bool:
        """Wait until all entries are sent, then stop the thread, also if the wait is interrupted.

        After giving up, an entry may still be on its way, since a request cannot be called back: :attr:`sender` ends
        with it.

        Args:
            patience: Seconds of failing attempts, without an entry sent, after which to give up.
            at_most: Seconds after which to give up in any case.

        Returns:
            Whether all entries were sent. Unsent entries stay on disk.
        """
        try:
            self._wait(patience, at_most)
        finally:
            with self._changed:
                self._stopped = True
                self._changed.notify_all()
                is_sending = self._sending
            if not is_sending:
                self.sender.join()
        return not self._waiting

    def _wait(self, patience: float, at_most: float) -> None:
        began = time.monotonic()
        with self._changed:
            failing_since = began
            before = len(self._waiting)
            self._changed.notify_all()
            while self._waiting and self.sender.is_alive():
                now = time.monotonic()
                if len(self._waiting) < before:
                    before, failing_since = len(self._waiting), now
                failing = self.error is not None and not self._sending and now - failing_since > patience
                if failing or now - began > at_most:
                    return
                self._changed.wait(0.2)

    def _send_all(self) -> None:
        wait = FIRST_WAIT
        while True:
            with self._changed:
                while not self._waiting and not self._stopped:
                    self._changed.wait()
                if self._stopped:
                    return
                path, entry = self._waiting[0]
                self._sending = True  # under the lock: after `close` has found it False, nothing more is sent
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
                with suppress(OSError):  # the disk can no longer be written: the entry is sent again later
                    remove_entry(path)
            with self._changed:
                if self.error is not None:
                    say("The tracking store answers again: what was kept is being sent.")
                self.error, wait = None, FIRST_WAIT
                self._waiting.popleft()
                self._changed.notify_all()

    def _failed(self, error: Exception, wait: float) -> bool:
        """Record a failed attempt, report the first in a row, and wait; return whether to try again."""
        line = why(error)[:300]
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
    """Return the folders of an outbox's entries in the order of sending."""
    return sorted(entry.parent for entry in path.glob(f"*/{ENTRY}") if entry.parent.name.isdecimal())


def read_entry(path: Path) -> Entry:
    """Read an entry from its folder.

    Raises:
        TP1Error: The entry is damaged.
    """
    try:
        facts = json.loads((path / ENTRY).read_text(encoding="utf-8"))
        points = [Point(**{**point, "dataset": tuple(point["dataset"])}) for point in facts.pop("points")]
        has_files = any((path / name).is_dir() for name in ("files", "model"))
        return Entry(**facts, points=points, folder=path if has_files else None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TP1Error(
            f"cannot read {path / ENTRY} ({why(error)}): remove that folder; what it holds is lost."
        ) from error


def remove_entry(path: Path) -> None:
    """Remove an entry; it is renamed first, so that an interrupted removal leaves no entry behind."""
    gone = path.with_name(f".{path.name}.sent")
    shutil.rmtree(gone, ignore_errors=True)
    path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _as_json(entry: Entry) -> dict[str, Any]:
    facts = asdict(entry)
    del facts["folder"]
    return facts
