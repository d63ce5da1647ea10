"""A Ray cluster, whose nodes do the runs of a list as Ray tasks."""

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report them to its makers
os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # epochs of several runs look alike to it
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray.exceptions import LocalRayletDiedError, NodeDiedError, OutOfMemoryError, TaskCancelledError, WorkerCrashedError

import tp1
from tp1.base.errors import TP1Error, why
from tp1.base.progress import say
from tp1.store.addresses import is_of_this_machine, is_sqlite, masked
from tp1.store.prepare import store_in_use
from tp1.sweeps.jobs import LostError, Work
from tp1.sweeps.spread import AUTO, LOCAL
from tp1.sweeps.worker import Done, do, packed
from tp1.tracking.environment import git_state
from tp1.tracking.ownership import is_held

ANSWER_SECONDS = 20.0  # for a cluster to answer
STOP_SECONDS = 30.0  # until a run that was told to stop is killed; it finishes its batch and keeps a checkpoint
RETRIES = 3  # of a run whose node was lost
SENT = ("MLFLOW_", "TP1_", "AWS_")  # environment variables that the nodes take over begin so
LOST = (WorkerCrashedError, NodeDiedError, LocalRayletDiedError)


@dataclass(frozen=True)
class Setting:
    """What a node takes over from the process that gives it work. It is sent with the work, for it may hold passwords.

    Attributes:
        variables: Environment variables.
        folder: The working directory, where a node has it.
        code: Version and commit of this project.
        parent: The id of the runs' parent, whose owner every node must see.
        threads: For computing.
    """

    variables: Mapping[str, str]
    folder: str
    code: str
    parent: str
    threads: int

    def take(self) -> None:
        """Take it over.

        Raises:
            TP1Error: This node has other code, or another state directory.
        """
        os.environ.update(self.variables)
        os.environ["OMP_NUM_THREADS"] = str(self.threads)
        with suppress(OSError):
            os.chdir(self.folder)
        here = socket.gethostname()
        if (code := code_here()) != self.code:
            raise TP1Error(f"node {here} has {code} of this project, not {self.code}: install the same on all nodes.")
        if not is_held(self.parent):
            raise TP1Error(
                f"node {here} does not see the lock of the parent run {self.parent}: TP1_STATE_DIR must be one folder "
                "that all nodes share, on a file system with locks."
            )


def code_here() -> str:
    """Version and commit of this project as it is installed here."""
    return f"version {tp1.__version__}, commit {git_state()['tp1.git_commit'][:12]}"


def do_on_node(
    setting: Setting, name: str, work: bytes, again: bool, describe_error: Callable[[Exception], str]
) -> Done:
    """Do work that was packed, as a Ray task; Ray shows each line that it prints with the task's name."""
    try:
        setting.take()
    except TP1Error as error:
        return Done(failed=describe_error(error))
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    import torch

    torch.set_num_threads(setting.threads)
    return do(name, work, again, describe_error)


class RayCluster:
    """A Ray cluster. Each run declares its processors, and a GPU if there are any; a lost one goes on elsewhere.

    Args:
        address: ``local``, ``auto`` or ``HOST:PORT``.
        most: How many runs at a time; None: as many as there is room for.
        describe_error: Returns one line that describes an error of a run.
        parent: The id of the parent of the runs, which this process owns.

    Raises:
        TP1Error: The cluster does not answer, has no room for a run, or cannot reach the tracking store.
    """

    retries = RETRIES

    def __init__(self, address: str, most: int | None, describe_error: Callable[[Exception], str], parent: str) -> None:
        self._most = most
        self._describe = describe_error
        self._busy: dict[Future[Any], ray.ObjectRef[Done]] = {}
        connect(address)
        try:
            nodes = alive_nodes()
            check_tracking(address, [node["NodeManagerAddress"] for node in nodes])
            self._gpus = 1 if any(node["Resources"].get("GPU", 0) >= 1 for node in nodes) else 0
            self._threads = threads_of(nodes, most)
            if not self.places:
                raise TP1Error(
                    f"ray={address}: no node has {self._threads} CPUs{' and a GPU' * self._gpus} for a run "
                    "(OMP_NUM_THREADS sets the CPUs of each)."
                )
            say(
                f"Ray: {self.places} at a time on {len(nodes)} node{'s' * (len(nodes) != 1)}; each run has "
                f"{self._threads} CPU{'s' * (self._threads != 1)}{' and one GPU' * self._gpus}."
            )
        except BaseException:
            ray.shutdown()
            raise
        variables = {name: value for name, value in os.environ.items() if name.startswith(SENT)}
        variables["MLFLOW_TRACKING_URI"] = store_in_use()
        self._setting = Setting(variables, str(Path.cwd()), code_here(), parent, self._threads)

    def __enter__(self) -> Self:
        return self

    @property
    def places(self) -> int:
        room = sum(places_of(node, self._threads, self._gpus) for node in alive_nodes())
        return room if self._most is None else min(room, self._most)

    def submit(self, name: str, work: Work, *, again: bool) -> "Future[Any]":
        task = ray.remote(do_on_node).options(
            name=name, num_cpus=self._threads, num_gpus=self._gpus, max_retries=0, scheduling_strategy="SPREAD"
        )
        reference = task.remote(self._setting, name, packed(work), again, self._describe)
        future: Future[Any] = reference.future()
        self._busy[future] = reference
        return future

    def result(self, future: "Future[Any]") -> Any:
        del self._busy[future]
        try:
            return future.result().result()
        except LOST as error:
            node = isinstance(error, NodeDiedError)
            raise LostError(f"its {'node' if node else 'process'} was lost.") from error
        except OutOfMemoryError as error:
            raise TP1Error("its node ran out of memory and ended it; the same command goes on.") from error
        except TaskCancelledError as error:
            raise TP1Error("cancelled; the same command goes on.") from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._busy:
            say(f"Stopping {len(self._busy)} run{'s' * (len(self._busy) != 1)} ...")
            for reference in self._busy.values():
                ray.cancel(reference)  # like Ctrl-C; ray.shutdown kills what is left
            wait(self._busy, STOP_SECONDS)
        ray.shutdown()


def connect(address: str) -> None:
    """Connect this process to a cluster, or start one.

    Raises:
        TP1Error: It does not answer.
    """
    if address != LOCAL:
        _check_answer(address)
    # Ray puts handlers of its own in place of ours, by which an interrupted run ends.
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    own: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address=address, logging_level=logging.ERROR, **own)
    except (Exception, SystemExit) as error:
        raise TP1Error(f"ray={address}: Ray does not start here ({why(error)}).") from error
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _check_answer(address: str) -> None:
    """Let a process ask: where nobody answers, Ray tries for two minutes and then ends its process."""
    given = [] if address == AUTO else ["--address", address]
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", *given]
    try:
        answers = subprocess.run(command, capture_output=True, timeout=ANSWER_SECONDS).returncode == 0
    except subprocess.TimeoutExpired:
        answers = False
    if not answers:
        raise TP1Error(
            f"ray={address}: no Ray cluster of this version answers: start one (ray start --head), or check address "
            "and ~/.ray/auth_token."
        )


def alive_nodes() -> list[dict[str, Any]]:
    """Return Ray's description of each node that is alive."""
    return [node for node in ray.nodes() if node["Alive"]]


def places_of(node: Mapping[str, Any], threads: int, gpus: int) -> int:
    """Return how many runs a node has room for, if nothing else runs there."""
    found = node["Resources"]
    room = int(found.get("CPU", 0) // threads)
    return min(room, int(found.get("GPU", 0) // gpus)) if gpus else room


def threads_of(nodes: list[dict[str, Any]], most: int | None) -> int:
    """Return the CPUs of each run: ``OMP_NUM_THREADS``; or a GPU's, or a run's, share of its node; or one."""
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if chosen.isdecimal() and int(chosen):
        return int(chosen)
    found = [(node["Resources"].get("CPU", 0), node["Resources"].get("GPU", 0)) for node in nodes]
    if any(gpus >= 1 for _, gpus in found):
        return max(1, int(min(cpus // gpus for cpus, gpus in found if gpus >= 1)))
    if most is None:
        return 1
    largest = max((cpus for cpus, _ in found), default=0)
    return max(1, int(min(sum(cpus for cpus, _ in found) // most, largest)))


def check_tracking(address: str, nodes: list[str]) -> None:
    """Refuse a tracking store that only this machine has, where nodes are on others.

    Args:
        nodes: The addresses of the nodes.

    Raises:
        TP1Error: It is one.
    """
    if len(set(nodes)) <= 1:
        return
    uri = store_in_use()
    if is_sqlite(uri):
        raise TP1Error(
            f"ray={address} has nodes on other machines, and {masked(uri)} is a file of this one: start a server "
            "(mlflow server --host 0.0.0.0) and set MLFLOW_TRACKING_URI to its address."
        )
    if is_of_this_machine(uri):
        raise TP1Error(
            f"ray={address} has nodes on other machines, and for each of them {masked(uri)} is itself: set "
            "MLFLOW_TRACKING_URI to an address of the server that all of them reach."
        )
