"""Worker processes: what is done in them, how they end, and what they print."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from tp1.base.errors import TP1Error
from tp1.base.interrupts import deferred, interruptible
from tp1.sweeps.jobs import Job, only, run_jobs
from tp1.sweeps.processes import Processes, threads_each
from tp1.sweeps.worker import Lines, do, gpu_of, labelled, packed

# Two jobs that a signal only delays, as a batch does; what they leave is `begun-N-PID`, then `kept-N`.
LIST = """
import os, sys, time
from functools import partial
from pathlib import Path
from tests.sweeps.test_processes import lasting
from tp1.base.interrupts import interruptible
from tp1.sweeps.jobs import Job, only, run_jobs
from tp1.sweeps.processes import Processes

if __name__ == "__main__":
    with interruptible(), Processes(2, str) as workers:
        run_jobs([Job(str(n), 1, None, only(partial(lasting, Path(sys.argv[1]), n))) for n in range(2)], str, workers)
"""


def lasting(folder: Path, number: int, again: bool) -> None:
    with deferred() as stopped:
        (folder / f"begun-{number}-{os.getpid()}").touch()
        until = time.monotonic() + 30
        while not stopped() and time.monotonic() < until:
            time.sleep(0.01)
        (folder / f"kept-{number}").touch()


def await_files(folder: Path, pattern: str, count: int) -> list[Path]:
    until = time.monotonic() + 60
    while len(found := list(folder.glob(pattern))) < count:
        assert time.monotonic() < until
        time.sleep(0.02)
    return found


def test_processes_do_one_job_after_another_and_one_that_is_killed_takes_no_other_with_it(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")

    class OddError(Exception):  # cannot be sent: it is in no module
        pass

    def fine(again: bool) -> str:
        return f"{os.getpid()} {os.environ['OMP_NUM_THREADS']}"

    def wrong(again: bool) -> str:
        raise OddError("odd")

    def killed(again: bool) -> str:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)
        return ""

    def slow(again: bool) -> str:
        time.sleep(1)
        return fine(again)

    works = {"slow": slow, "a": fine, "wrong": wrong, "killed": killed, "b": fine, "c": fine}
    with Processes(2, str) as workers:
        outcomes = run_jobs([Job(name, 1, None, only(work)) for name, work in works.items()], str, workers)
    found = {outcome.name: (outcome.status, outcome.line) for outcome in outcomes}
    assert found["wrong"] == ("failed", "odd")
    assert found["killed"][0] == "failed"
    assert found["killed"][1].startswith("its process was killed from outside")
    lines = [found[name][1] for name in ("slow", "a", "b", "c")]
    assert all(re.fullmatch(r"\d+ 3", line) for line in lines), found
    assert len({*lines}) == 3  # two processes, and one in place of the killed one
    assert str(os.getpid()) not in {line.split()[0] for line in lines}


def test_an_interrupt_lets_them_finish_what_they_are_at(tmp_path):
    def interrupt() -> None:
        await_files(tmp_path, "begun-*", 2)
        os.kill(os.getpid(), signal.SIGINT)

    before = set(psutil.Process().children())
    threading.Thread(target=interrupt).start()
    jobs = [Job(str(number), 1, None, only(partial(lasting, tmp_path, number))) for number in range(2)]
    # A shell lets processes in the background ignore SIGINT; a command does not.
    with pytest.raises(KeyboardInterrupt), interruptible(), Processes(2, str) as workers:
        run_jobs(jobs, str, workers)
    assert len(list(tmp_path.glob("kept-*"))) == 2
    left = [process for process in set(psutil.Process().children()) - before if "tracker" not in str(process.cmdline())]
    assert not left


@pytest.mark.long
def test_they_end_with_a_parent_that_is_killed(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", LIST, str(tmp_path)], stdout=subprocess.DEVNULL)
    pids = [int(path.name.rpartition("-")[2]) for path in await_files(tmp_path, "begun-*", 2)]
    process.kill()
    process.wait()
    await_files(tmp_path, "kept-*", 2)
    until = time.monotonic() + 20
    while any(psutil.pid_exists(pid) for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_work_that_is_interrupted_or_fails_comes_back_as_a_line():
    def stopped(again: bool) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def failing(again: bool) -> None:
        raise TP1Error(f"again: {again}")

    assert do("a", packed(lambda again: again), True, str).result() is True
    for work, line in ((stopped, "interrupted by a signal"), (failing, "again: False")):
        with pytest.raises(TP1Error, match=line):
            do("a", packed(work), False, str).result()


def test_lines_are_written_whole_and_say_whose_they_are(monkeypatch):
    read, written = os.pipe()
    lines = Lines(open(written, "w", encoding="ascii"))  # noqa: PTH123, SIM115
    monkeypatch.setattr(sys, "stdout", lines)
    print("idle")
    with labelled("cnnv3-s1"):
        print("epoch", 1, "\xe9")
        print("begun, ", end="")
        assert os.read(read, 1000) == b"idle\ncnnv3-s1: epoch 1 \\xe9\n"
        print("and whole\n\nbegun")
        print("cut off", end="")
    print("idle")
    assert os.read(read, 1000).decode().splitlines() == [
        *("cnnv3-s1: begun, and whole", "cnnv3-s1: begun", "cnnv3-s1: cut off", "idle")
    ]
    os.close(read)
    print("nobody reads it any more")


def test_each_has_its_share_of_threads_and_one_of_several_gpus(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [threads_each(count) for count in (1, 3, 8, 20)] == [8, 2, 1, 1]
    for chosen, threads in (("5", 5), ("0", 4), ("many", 4)):
        monkeypatch.setenv("OMP_NUM_THREADS", chosen)
        assert threads_each(2) == threads
    assert [gpu_of(number, 2, None) for number in range(3)] == ["0", "1", "0"]
    assert [gpu_of(number, 2, "4,GPU-7") for number in range(2)] == ["4", "GPU-7"]
    assert gpu_of(0, 1, "3") is gpu_of(1, 0, None) is None
