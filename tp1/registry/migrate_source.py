"""Where a migration reads from: a database, a server, or the file store of an older MLflow."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient

from tp1.base.errors import TP1Error
from tp1.registry.copied import pages
from tp1.store.addresses import is_same_store, local_path, masked
from tp1.store.file_stores import file_store_path, opened_file_store
from tp1.store.prepare import existing_store
from tp1.tracking.ownership import held, is_held


@dataclass(frozen=True)
class Source:
    """A store to copy from.

    Attributes:
        uri: The address at which it is read.
        name: Its name for messages.
        unreadable: Folders of runs and models in it that cannot be read.
    """

    uri: str
    name: str
    unreadable: tuple[Path, ...] = ()


@contextmanager
def opened_source(source_uri: str, target_uri: str) -> Iterator[Source]:
    """Inside the block, a store can be read, and no other process on this machine copies from it.

    Args:
        source_uri: Its URI, or the folder of a file store.
        target_uri: The URI of the store to copy to.

    Raises:
        TP1Error: It cannot be read, is the target itself, or another process copies from it.
    """
    if (folder := file_store_path(source_uri)) is not None:
        with opened_file_store(folder) as store:
            for experiment in pages(MlflowClient(target_uri, target_uri).search_experiments):
                place = local_path(experiment.artifact_location)
                if place is not None and place.is_relative_to(store.folder):
                    raise TP1Error(
                        f"the files of the copies would go into {store.folder}, among the originals: rename it first "
                        f"(mv {store.folder} {store.folder}-old)."
                    )
            with _alone(str(store.folder)):
                yield Source(store.uri, str(store.folder), store.unreadable)
        return
    if is_same_store(source_uri, target_uri):
        raise TP1Error(f"{masked(source_uri)} is the store in use: set MLFLOW_TRACKING_URI to the one to copy to.")
    uri = existing_store(source_uri)
    with _alone(masked(uri)):
        yield Source(uri, masked(uri))


@contextmanager
def _alone(source: str) -> Iterator[None]:
    """Inside the block, no other process on this machine migrates the source: both would copy the same runs."""
    lock = f"migration-{hashlib.sha256(source.encode()).hexdigest()[:16]}"
    if is_held(lock):
        raise TP1Error(f"another process is migrating {source}: wait for it, or end it.")
    with held(lock):
        yield
