"""What training keeps of a run on this machine until the tracking store has all of it: plan, checkpoints, outbox."""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from platformdirs import user_state_path

from tp1.base.errors import TP1Error
from tp1.base.folders import folder_size
from tp1.config import TrainConfig

PLAN = "plan.json"
REMOVED = ".removed"


def state_dir() -> Path:
    """Where runs keep what must survive a kill: ``$TP1_STATE_DIR``, else the user's state directory."""
    return Path(os.environ.get("TP1_STATE_DIR") or user_state_path("tp1")).expanduser()


def machine() -> str:
    """The name of this machine, as runs are tagged with it."""
    return socket.gethostname()


@dataclass(frozen=True)
class Plan:
    """What a run is to do, as it was asked for.

    Attributes:
        experiment: Its entry point.
        configuration: Such as ``c2``, or empty.
        config: With nothing resolved: a device of ``auto`` stays that.
        command: What repeats the run.
    """

    experiment: str
    configuration: str
    config: TrainConfig
    command: str

    @property
    def label(self) -> str:
        """``cnnv3-c2-s1``."""
        return "-".join(filter(None, [self.experiment, self.configuration, f"s{self.config.seed}"]))


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run, ``runs/<run id>`` below the state directory."""

    path: Path

    @property
    def run_id(self) -> str:
        """The run's id in its tracking store."""
        return self.path.name

    @property
    def checkpoints(self) -> Path:
        """Where the run's checkpoints lie (:mod:`tp1.training.checkpoints`)."""
        return self.path / "checkpoints"

    @property
    def outbox(self) -> Path:
        """Where the run's outbox lies (:mod:`tp1.tracking.outbox`)."""
        return self.path / "outbox"

    def plan(self) -> Plan:
        """What the run is to do.

        Raises:
            TP1Error: It cannot be read.
        """
        try:
            facts = json.loads((self.path / PLAN).read_text())
            config = facts.pop("config")
            if config["data_dir"] is not None:
                config["data_dir"] = Path(config["data_dir"])
            facts.pop("store")
            return Plan(**facts, config=TrainConfig(**config))
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise TP1Error(
                f"cannot read {self.path / PLAN} ({str(error).splitlines()[0]}): the run cannot be resumed; close it "
                f"(tp1 runs --close {self.run_id})."
            ) from error

    def store(self) -> str:
        """The tracking store that has the run, without a password; empty where that cannot be read."""
        try:
            return str(json.loads((self.path / PLAN).read_text())["store"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def size(self) -> int:
        """Bytes of all that it holds."""
        return folder_size(self.path)

    def remove(self) -> None:
        """Remove the folder, checkpoints and all; where that is cut off, what is left is no run's any more."""
        with suppress(OSError):
            self.path.rename(self.path.with_name(f".{self.path.name}{REMOVED}"))
        sweep()


def checkpoint_paths(folder: Path) -> list[Path]:
    """The checkpoints in a folder, newest first: ``<epochs done>-<steps done in the next>.safetensors``."""
    return sorted(folder.glob("[0-9]*-[0-9]*.safetensors"), reverse=True)


def create_folder(run_id: str, plan: Plan, store: str) -> RunFolder:
    """The folder of a new run.

    Args:
        store: The tracking store that has the run, without a password.

    Raises:
        TP1Error: It cannot be written.
    """
    folder = RunFolder(state_dir() / "runs" / run_id)
    facts: dict[str, Any] = asdict(plan) | {"store": store}
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        partial = folder.path / f".{PLAN}.partial"
        partial.write_text(json.dumps(facts, indent=1, default=str))
        partial.replace(folder.path / PLAN)
    except OSError as error:
        raise unwritable(error) from error
    return folder


def sweep() -> None:
    """Remove what an earlier removal has left."""
    for path in (state_dir() / "runs").glob(f".*{REMOVED}"):
        shutil.rmtree(path, ignore_errors=True)


def folders() -> list[RunFolder]:
    """The folders of all runs here, newest first."""
    found = [RunFolder(path.parent) for path in (state_dir() / "runs").glob(f"[!.]*/{PLAN}")]
    return sorted(found, key=lambda folder: _made(folder.path / PLAN), reverse=True)


def find_folder(run_id: str) -> RunFolder | None:
    """The folder of a run, or None where there is none here."""
    return next((folder for folder in folders() if folder.run_id == run_id), None)


@contextmanager
def held(run_id: str) -> Iterator[None]:
    """This process is at work on a run, until the block or the process ends, however it does.

    Raises:
        TP1Error: Another process is, or the state directory cannot be written.
    """
    try:
        lock = _lock(run_id)
        lock.acquire(timeout=1)  # another may look for a moment whether somebody holds it
    except Timeout as error:
        raise TP1Error(f"another process is at work on run {run_id}: wait for it, or end it.") from error
    except OSError as error:
        raise unwritable(error) from error
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def is_held(run_id: str) -> bool:
    """Whether a process on this machine is at work on a run."""
    try:
        lock = _lock(run_id)
        if not Path(lock.lock_file).exists():
            return False
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # nobody can hold anything there
        return False


def unwritable(error: OSError) -> TP1Error:
    """The error to raise when the state directory cannot be written."""
    return TP1Error(
        f"cannot write to {error.filename or state_dir()}: {error.strerror}. Free some space there, or name another "
        "folder with the environment variable TP1_STATE_DIR."
    )


def _made(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # removed since it was found
        return 0.0


def _lock(run_id: str) -> FileLock:
    folder = state_dir() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{run_id}.lock", is_singleton=False)
