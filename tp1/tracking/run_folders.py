"""What training keeps of a run on this machine until the tracking store has all of it: plan, checkpoints, outbox."""

import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_state_path

from tp1.base.errors import TP1Error
from tp1.base.folders import folder_size, unwritable
from tp1.config import TrainConfig
from tp1.training.checkpoint_files import checkpoint_paths, epochs_done

PLAN = "plan.json"
REMOVED = ".removed"


def state_dir() -> Path:
    """Where runs keep what must survive a kill: ``$TP1_STATE_DIR``, else the user's state directory."""
    return Path(os.environ.get("TP1_STATE_DIR") or user_state_path("tp1")).expanduser()


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

    @property
    def is_there(self) -> bool:
        """Whether the folder is there: that of a run that is finished, and whole in its store, is removed."""
        return self.path.is_dir()

    def epochs(self) -> int | None:
        """How many whole epochs the newest checkpoint has; None where there is no checkpoint."""
        paths = checkpoint_paths(self.checkpoints)
        return epochs_done(paths[0]) if paths else None

    def size(self) -> int:
        """Bytes of all that it holds."""
        return folder_size(self.path)

    def remove(self) -> None:
        """Remove the folder, checkpoints and all; where that is cut off, what is left is no run's any more."""
        with suppress(OSError):
            self.path.rename(self.path.with_name(f".{self.path.name}{REMOVED}"))
        sweep()


def create_folder(run_id: str, plan: Plan, store: str) -> RunFolder:
    """The folder of a new run.

    Args:
        store: The tracking store that has the run, without a password.

    Raises:
        TP1Error: It cannot be written.
    """
    folder = run_folder(run_id)
    facts: dict[str, Any] = asdict(plan) | {"store": store}
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        partial = folder.path / f".{PLAN}.partial"
        partial.write_text(json.dumps(facts, indent=1, default=str))
        partial.replace(folder.path / PLAN)
    except OSError as error:
        raise state_unwritable(error) from error
    return folder


def sweep() -> None:
    """Remove what an earlier removal has left."""
    for path in (state_dir() / "runs").glob(f".*{REMOVED}"):
        shutil.rmtree(path, ignore_errors=True)


def folders() -> list[RunFolder]:
    """The folders of all runs here, newest first."""
    found = [RunFolder(path.parent) for path in (state_dir() / "runs").glob(f"[!.]*/{PLAN}")]
    return sorted(found, key=lambda folder: _made(folder.path / PLAN), reverse=True)


def run_folder(run_id: str) -> RunFolder:
    """The folder of a run on this machine, whether it is there or not."""
    return RunFolder(state_dir() / "runs" / run_id)


def find_folder(run_id: str) -> RunFolder | None:
    """The folder of a run, or None where there is none here."""
    return next((folder for folder in folders() if folder.run_id == run_id), None)


def state_unwritable(error: OSError) -> TP1Error:
    """The error to raise where the state directory cannot be written."""
    return unwritable(str(error.filename or state_dir()), error, "TP1_STATE_DIR")


def _made(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # removed since it was found
        return 0.0
