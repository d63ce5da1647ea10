"""A lock on a registered model, across all processes and machines that use a tracking store.

The lock is a registered model of its own, ``<name>-promotion``: every store lets only one process create a name, and
the UI shows who holds it. Its holder renews it every few seconds. A lock that is no longer renewed, because its holder
was killed or has lost the store, is taken over: nobody has to remove it by hand.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from uuid import uuid4

from mlflow import MlflowClient
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

from tp1.base.errors import TP1Error
from tp1.base.progress import say
from tp1.registry.versions import now, who
from tp1.store.access import is_absent, refused

LOCK_SUFFIX = "-promotion"  # of the registered model that serves as the lock of another
LOCK_SECONDS = 150.0  # longest wait for another promotion
RENEW_SECONDS = 10.0
STALE_SECONDS = 60.0  # without a renewal, watched for that long by who waits: no two clocks are compared
SETTLE_SECONDS = 1.0  # after a takeover, until it is certain that no other process took over at the same moment
HOLDER_TAG, RENEWED_TAG = "tp1.holder", "tp1.renewed"


@dataclass(frozen=True)
class Lock:
    """A lock that this process holds.

    Attributes:
        title: The name of the registered model that is the lock.
        holder: A random number, to tell this process's lock from others.
    """

    title: str
    holder: str

    def check(self) -> None:
        """Call this right before a change that nobody else may make at the same time.

        Raises:
            TP1Error: Another process has taken over the lock, because this one was silent for too long.
        """
        if not _is_held(MlflowClient(), self):
            raise TP1Error(
                f"the lock {self.title} went to another process, because this one was silent for {STALE_SECONDS:.0f} s "
                "or more: nothing was changed; run the command again."
            )


@contextmanager
def promotion_lock(name: str) -> Iterator[Lock]:
    """Context manager: hold the lock of a registered model.

    Raises:
        TP1Error: Another process still held the lock after :data:`LOCK_SECONDS` of waiting, or held it last and this
            account may not take it over; or a registered model that is no lock has its name.
    """
    lock = Lock(f"{name}{LOCK_SUFFIX}", uuid4().hex)
    client = MlflowClient()
    _acquire(client, lock, name)
    ended = threading.Event()
    thread = threading.Thread(target=_renew, args=(client, lock, ended), daemon=True)
    thread.start()
    try:
        yield lock
    finally:
        ended.set()
        thread.join(timeout=RENEW_SECONDS)
        try:
            if _is_held(client, lock):
                client.delete_registered_model(lock.title)
        except MlflowException:  # what was done under the lock stands, whether or not it can be removed
            say(f"Note: the lock {lock.title} could not be removed. The next command takes it over.")


def is_lock(model: RegisteredModel) -> bool:
    """Whether a registered model is a lock, and not the model of a data set whose name ends like one.

    A lock of an earlier version of this program has no holder; no lock has versions.
    """
    return model.name.endswith(LOCK_SUFFIX) and (HOLDER_TAG in model.tags or not model.latest_versions)


def _acquire(client: MlflowClient, lock: Lock, name: str) -> None:
    began = time.monotonic()
    seen, seen_at = "", began
    waiting = taken_over = False
    while True:
        if _create(client, lock, name):
            if not taken_over:
                return
            time.sleep(SETTLE_SECONDS)
            if _is_held(client, lock):
                return
        try:
            found = client.get_registered_model(lock.title)
        except MlflowException as error:
            if not is_absent(error):
                raise
            continue  # it was released just now
        if not is_lock(found):
            raise TP1Error(
                f"{lock.title} is a registered model, and {name} needs this name for its lock: give the data set "
                f"whose models it holds another name than {name.removeprefix('tp1-')}{LOCK_SUFFIX}, and delete it."
            )
        state = f"{found.tags.get(HOLDER_TAG)} {found.tags.get(RENEWED_TAG)}"
        if state != seen:
            seen, seen_at = state, time.monotonic()
        elif time.monotonic() - seen_at >= STALE_SECONDS:
            say(f"Taking over a lock that was not renewed for {STALE_SECONDS:.0f} s: {found.description}")
            _remove(client, lock.title, found.description)
            taken_over = True
            continue
        if time.monotonic() - began > LOCK_SECONDS:
            raise TP1Error(f"{name} is locked, and its holder is at work: {found.description} Try again later.")
        if not waiting:
            say(f"Waiting for another promotion: {found.description}")
            waiting = True
        time.sleep(0.5)


def _create(client: MlflowClient, lock: Lock, name: str) -> bool:
    """Create the lock; return whether this process holds it now."""
    try:
        client.create_registered_model(
            lock.title, {HOLDER_TAG: lock.holder}, f"{who()} is changing {name} since {now()}."
        )
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
        return _is_held(client, lock)  # MLflow repeats a request whose answer was lost
    return True


def _remove(client: MlflowClient, title: str, holder: str) -> None:
    try:
        client.delete_registered_model(title)
    except MlflowException as error:
        if refused(error):
            raise TP1Error(
                f"the lock {title} was left by another account ({holder}), and this one may not remove it: ask its "
                "owner or an administrator to delete that registered model."
            ) from error
        # Else another process takes it over at this moment, or the store fails: the next request says which.


def _renew(client: MlflowClient, lock: Lock, ended: threading.Event) -> None:
    number = 0
    while not ended.wait(RENEW_SECONDS):
        with suppress(MlflowException):  # a store that does not answer: check() says what became of the lock
            if not _is_held(client, lock):
                return
            number += 1
            client.set_registered_model_tag(lock.title, RENEWED_TAG, str(number))


def _is_held(client: MlflowClient, lock: Lock) -> bool:
    try:
        return bool(client.get_registered_model(lock.title).tags.get(HOLDER_TAG) == lock.holder)
    except MlflowException as error:
        if is_absent(error):
            return False
        raise
