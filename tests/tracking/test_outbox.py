"""What is put into an outbox arrives: all of it, in order, also after a kill and from several threads."""

import json
import time
from pathlib import Path
from threading import Event, Thread, current_thread, main_thread

import pytest

import tp1.tracking.outbox
from tp1.base.errors import TP1Error
from tp1.tracking.outbox import Entry, Outbox, Point, entry_paths


class Store:
    """Takes entries, unless it is away."""

    def __init__(self) -> None:
        self.taken: list[Entry] = []
        self.away: Exception | None = None

    def take(self, entry: Entry) -> None:
        if self.away is not None:
            raise self.away
        self.taken.append(entry)

    def values(self) -> list[float]:
        return [point.value for entry in self.taken for point in entry.points]


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setattr(tp1.tracking.outbox, "FIRST_WAIT", 0.01)
    return Store()


def number(value: float) -> Entry:
    return Entry([Point("a", value, 0)])


def outbox_of(path: Path, store: Store) -> Outbox:
    return Outbox(path, store.take, lambda error: isinstance(error, PermissionError))


def test_entries_arrive_in_order_and_leave_nothing(tmp_path, store):
    outbox = outbox_of(tmp_path / "out", store)
    for value in range(20):
        outbox.put(number(value))
    assert outbox.close(patience=5)
    assert store.values() == list(range(20))
    assert not list((tmp_path / "out").iterdir())


def test_several_threads_lose_nothing(tmp_path, store):
    store.away = OSError("away")
    outbox = outbox_of(tmp_path, store)
    threads = [
        Thread(target=lambda first=first: [outbox.put(number(first + n)) for n in range(50)]) for first in (0, 50, 100)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entry_paths(tmp_path)) == 150
    store.away = None
    assert outbox.close(patience=5)
    assert sorted(store.values()) == list(range(150))


def test_what_a_store_did_not_take_is_there_for_the_next_process(tmp_path, store, capsys):
    store.away = OSError("away")
    outbox = outbox_of(tmp_path, store)

    def fill(folder: Path) -> None:
        (folder / "files").mkdir()
        (folder / "files" / "a.txt").write_text("text")

    outbox.put(number(1))
    outbox.put(Entry(status="FINISHED", end_time=5, tags={"a": "b"}), fill)
    assert not outbox.close(patience=0.05)
    assert outbox.waiting == 2
    assert "does not take what is sent (away)" in capsys.readouterr().out

    store.away = None
    assert outbox_of(tmp_path, store).close(patience=5)
    first, last = store.taken
    assert first == number(1)
    assert (last.status, last.end_time, last.tags) == ("FINISHED", 5, {"a": "b"})
    assert last.folder is not None


def test_a_store_that_refuses_is_not_asked_again(tmp_path, store):
    store.away = PermissionError("no")
    outbox = outbox_of(tmp_path, store)
    outbox.put(number(1))
    began = time.monotonic()
    assert not outbox.close(patience=60)
    assert time.monotonic() - began < 5
    assert len(entry_paths(tmp_path)) == 1


def test_closing_does_not_wait_for_ever_for_a_store_that_hangs(tmp_path):
    release = Event()
    outbox = Outbox(tmp_path, lambda entry: release.wait(30), lambda error: False)
    outbox.put(number(1))
    assert not outbox.close(patience=60, at_most=0.1)
    release.set()


def test_an_interrupted_wait_ends_the_thread_too(tmp_path, store, monkeypatch):
    store.away = OSError("away")
    outbox = outbox_of(tmp_path, store)
    outbox.put(number(1))
    monkeypatch.setattr(outbox._changed, "wait", raise_interrupt)
    with pytest.raises(KeyboardInterrupt):
        outbox.close(patience=60)
    assert not outbox.sender.is_alive()


def raise_interrupt(seconds: float) -> None:
    if current_thread() is main_thread():
        raise KeyboardInterrupt
    time.sleep(min(seconds, 0.01))


def test_where_the_disk_cannot_be_written_memory_serves(tmp_path, store, capsys):
    (tmp_path / "blocked").write_text("")
    outbox = outbox_of(tmp_path / "blocked", store)
    outbox.put(number(1))
    assert outbox.close(patience=5)
    assert store.values() == [1]
    assert "kept in memory alone" in capsys.readouterr().out
    with pytest.raises(OSError, match="blocked"):
        outbox.put(number(2), lambda folder: None)


def test_half_of_an_entry_is_none(tmp_path, store):
    (tmp_path / ".000001.partial").mkdir()
    (tmp_path / ".000002.sent").mkdir()
    (tmp_path / "000003").mkdir()  # without its entry.json
    assert outbox_of(tmp_path, store).close(patience=5)
    assert not store.taken


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"points": [{"name": "a"}]}), '{"points": 1}', "null"])
def test_a_damaged_entry_is_named(tmp_path, store, text):
    (tmp_path / "000001").mkdir()
    (tmp_path / "000001" / "entry.json").write_text(text)
    with pytest.raises(TP1Error, match=r"cannot read .*000001/entry.json"):
        outbox_of(tmp_path, store)
