"""Run folders: plan, checkpoints and outbox of a run, kept on this machine until the tracking store has all of it."""

import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_state_path

from tp1.base.errors import TP1Error, why
from tp1.base.folders import check_readable, folder_size, unwritable
from tp1.config import TrainConfig
from tp1.store.addresses import is_same_store, masked
from tp1.training.checkpoint_files import checkpoint_paths, epochs_done

PLAN = "plan.json"
REMOVED = ".removed"


def state_dir() -> Path:
    """Return the folder for all that must survive a kill: ``$TP1_STATE_DIR``, else the user's state directory."""
    return Path(os.environ.get("TP1_STATE_DIR") or user_state_path("tp1")).expanduser()


@dataclass(frozen=True)
class TrialOf:
    """Which trial of which sweep a run is.

    Attributes:
        sweep: The digest of the sweep.
        number: From 0.
        command: The command that goes on with the sweep.
    """

    sweep: str
    number: int
    command: str


@dataclass(frozen=True)
class Plan:
    """What a run shall do, as the user requested it.

    Attributes:
        experiment: The entry point.
        configuration: The configuration of a study, such as ``c2``; empty without one.
        config: Before anything is resolved: a device of ``auto`` stays ``auto``.
        command: The command that repeats the run.
        trial: The place of the run in a sweep; None for a run of its own.
    """

    experiment: str
    configuration: str
    config: TrainConfig
    command: str
    trial: TrialOf | None = None

    @property
    def label(self) -> str:
        """Experiment, configuration and seed, such as ``cnnv3-c2-s1``; of a trial its number, such as ``cnnv3-t7``."""
        last = f"s{self.config.seed}" if self.trial is None else f"t{self.trial.number}"
        return "-".join(filter(None, [self.experiment, self.configuration, last]))


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
        """The folder of the run's checkpoints (:mod:`tp1.training.checkpoints`)."""
        return self.path / "checkpoints"

    @property
    def outbox(self) -> Path:
        """The folder of the run's outbox (:mod:`tp1.tracking.outbox`)."""
        return self.path / "outbox"

    def plan(self) -> Plan:
        """Read the run's plan.

        Raises:
            TP1Error: The plan cannot be read.
        """
        try:
            facts = json.loads((self.path / PLAN).read_text(encoding="utf-8"))
            config = facts.pop("config")
            if config["data_dir"] is not None:
                config["data_dir"] = Path(config["data_dir"])
            facts.pop("store")
            trial = facts.pop("trial", None)  # plans of earlier versions have none
            return Plan(**facts, config=TrainConfig.of(config), trial=None if trial is None else TrialOf(**trial))
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise TP1Error(
                f"cannot read {self.path / PLAN} ({why(error)}): the run cannot be resumed; close it "
                f"(tp1 runs --close {self.run_id})."
            ) from error

    def store(self) -> str:
        """Return the URI of the run's tracking store without its password; empty if the plan cannot be read."""
        try:
            return str(json.loads((self.path / PLAN).read_text(encoding="utf-8"))["store"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def is_of(self, uri: str) -> bool:
        """Whether the run is one of the tracking store with this URI."""
        return is_same_store(self.store(), masked(uri))

    @property
    def is_there(self) -> bool:
        """Whether the folder exists; it is removed when the run is finished and sent, or given up."""
        return self.path.is_dir()

    def epochs(self) -> int | None:
        """Return the number of complete epochs in the newest checkpoint; None without a checkpoint."""
        paths = checkpoint_paths(self.checkpoints)
        return epochs_done(paths[0]) if paths else None

    def size(self) -> int:
        """Return the size of all files in bytes."""
        return folder_size(self.path)

    def remove(self) -> None:
        """Remove the folder; it is renamed first, so that after an interrupted removal it no longer counts as a run."""
        with suppress(OSError):
            self.path.rename(self.path.with_name(f".{self.path.name}{REMOVED}"))
        sweep()


def create_folder(run_id: str, plan: Plan, store: str) -> RunFolder:
    """Create the folder of a new run, with its plan.

    Args:
        store: The URI of the run's tracking store, without its password.

    Raises:
        TP1Error: The folder cannot be written.
    """
    folder = run_folder(run_id)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        _write(folder, asdict(plan) | {"config": plan.config.flat(), "store": store})
    except OSError as error:
        raise state_unwritable(error) from error
    return folder


def change_store(before: str, after: str) -> None:
    """Let the runs of a store that was moved go on at its new address.

    Args:
        before, after: URIs without passwords.

    Raises:
        TP1Error: A folder cannot be written.
    """
    for folder in folders():
        if folder.is_of(before):
            facts = json.loads((folder.path / PLAN).read_text(encoding="utf-8"))
            try:
                _write(folder, facts | {"store": after})
            except OSError as error:
                raise state_unwritable(error) from error


def sweep() -> None:
    """Delete what interrupted removals left behind."""
    with suppress(OSError):
        for path in (state_dir() / "runs").glob(f".*{REMOVED}"):
            shutil.rmtree(path, ignore_errors=True)


def folders() -> list[RunFolder]:
    """Return the folders of all runs on this machine, newest first.

    Raises:
        TP1Error: The state directory cannot be read.
    """
    check_readable(state_dir() / "runs", "TP1_STATE_DIR")
    found = [RunFolder(path.parent) for path in (state_dir() / "runs").glob(f"[!.]*/{PLAN}")]
    return sorted(found, key=lambda folder: _made(folder.path / PLAN), reverse=True)


def run_folder(run_id: str) -> RunFolder:
    """Return the folder of a run on this machine, whether it exists or not."""
    return RunFolder(state_dir() / "runs" / run_id)


def find_folder(run_id: str) -> RunFolder | None:
    """Return the folder of a run, or None if this machine has none."""
    return next((folder for folder in folders() if folder.run_id == run_id), None)


def state_unwritable(error: OSError) -> TP1Error:
    """Return the error to raise if the state directory cannot be written."""
    return unwritable(str(error.filename or state_dir()), error, "TP1_STATE_DIR")


def _write(folder: RunFolder, facts: dict[str, Any]) -> None:
    partial = folder.path / f".{PLAN}.partial"
    partial.write_text(json.dumps(facts, indent=1, default=str), encoding="utf-8")
    partial.replace(folder.path / PLAN)


def _made(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process has removed it meanwhile
        return 0.0
