"""File stores: folders in which MLflow kept runs before it kept them in databases. They are only read, to copy them."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow.store.fs2db import migrate as read_file_store
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri
from sqlalchemy import create_engine, text

from tp1.base.errors import TP1Error, why
from tp1.store.places import DEFAULT_ROOT, relocate

META = "meta.yaml"  # in the folder of each experiment, run and model


@dataclass(frozen=True)
class FileStore:
    """A file store, as a temporary database shows it.

    Attributes:
        folder: The store's folder, absolute.
        uri: The database's address; it names the files in the folder.
        unreadable: The folders of runs and models that MLflow could not read.
    """

    folder: Path
    uri: str
    unreadable: tuple[Path, ...]


def file_store_path(uri: str) -> Path | None:
    """Return the absolute path of the folder that a URI names as a file store; None for other URIs."""
    return Path(local_file_uri_to_path(uri)).absolute() if is_local_uri(uri) else None


def refusal_of(folder: Path) -> str:
    """Say in one line that a file store cannot be the store in use, and what to do."""
    what = f"{folder} is a file store of an older MLflow, and this one keeps runs in a database"
    if "MLFLOW_TRACKING_URI" in os.environ:
        return (
            f"{what}: set MLFLOW_TRACKING_URI to one (sqlite:////PATH/mlflow.db) or to a server, then "
            f"`tp1 migrate {folder}` copies the runs there."
        )
    kept = folder.with_name(f"{folder.name}-old")
    return f"{what}: `mv {folder} {kept}`, then `tp1 migrate {kept}` copies the runs into one."


def find_file_store(path: Path) -> Path:
    """Return the folder of the file store that ``path`` is or contains.

    Raises:
        TP1Error: There is none.
    """
    for folder in (path / DEFAULT_ROOT, path):
        if any(folder.glob(f"[0-9]*/{META}")):
            return folder.resolve()
    raise TP1Error(
        f"there is no store of MLflow's in {path}: give the address of a database (sqlite:///mlflow.db), of a server, "
        "or the folder of a file store."
    )


@contextmanager
def opened_file_store(path: Path) -> Iterator[FileStore]:
    """Inside the block, a file store can be read as a database; the folder may have been renamed since it was written.

    Raises:
        TP1Error: There is none, or MLflow cannot read it.
    """
    folder = find_file_store(path)
    with TemporaryDirectory() as temporary:
        uri = f"sqlite:///{temporary}/mlflow.db"
        try:
            with redirect_stdout(io.StringIO()):
                read_file_store(folder, uri, progress=False)
        except Exception as error:  # whatever a damaged file leads to
            line = why(error)
            raise TP1Error(f"MLflow cannot read the file store {folder}: {line}") from error
        relocate(uri, folder)
        yield FileStore(folder, uri, tuple(_unread(folder, uri)))


def _unread(folder: Path, uri: str) -> Iterator[Path]:
    """Yield the folders of runs and models that are not in the database: MLflow passes over a damaged one."""
    engine = create_engine(uri)
    try:
        with engine.connect() as connection:
            known = {name for (name,) in connection.execute(text("SELECT run_uuid FROM runs"))}
            known |= {name for (name,) in connection.execute(text("SELECT model_id FROM logged_models"))}
    finally:
        engine.dispose()
    for pattern in ("[0-9]*/" + "[0-9a-f]" * 32, "[0-9]*/models/m-*"):
        for path in sorted(folder.glob(pattern)):
            if path.is_dir() and path.name not in known:
                yield path
