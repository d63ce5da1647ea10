"""Where the files of runs lie: an SQLite store records absolute paths, and its folder may be moved or copied.

MLflow reads a file that is not where it was recorded as "there is none", and writes new ones there, so that the old
folder comes back. So a store whose files lie beside its database but are recorded elsewhere is refused, until
:func:`relocate` has written the new places down. A database may also keep its files elsewhere on purpose: nothing is
wrong as long as the runs' own folders, named by their ids, do not lie beside it as well.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlLoggedModel, SqlRun, SqlTraceTag
from mlflow.utils.mlflow_tags import MLFLOW_ARTIFACT_LOCATION
from sqlalchemy import Connection, create_engine, func, select, update

from tp1.base.errors import TP1Error
from tp1.store.addresses import local_path, sqlite_path
from tp1.store.backups import keep_copy

_OWNED: tuple[tuple[Any, Any], ...] = (
    (SqlRun.artifact_uri, SqlRun.run_uuid),
    (SqlLoggedModel.artifact_location, SqlLoggedModel.model_id),
)
_COLUMNS: tuple[Any, ...] = (
    *(SqlExperiment.artifact_location, SqlRun.artifact_uri, SqlLoggedModel.artifact_location),
    *(SqlModelVersion.source, SqlModelVersion.storage_location, SqlTraceTag.value),
)
DEFAULT_ROOT = Path(DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH).name  # mlruns, in the folder where a store was first used


@dataclass(frozen=True)
class Move:
    """A folder that records name although another has taken its place.

    Attributes:
        recorded: The folder in the records.
        here: The database's own folder.
        found: Whether files that are recorded in the one lie in the other.
    """

    recorded: Path
    here: Path
    found: bool

    def explain(self, database: Path, command: str) -> str:
        """Say in one line what is wrong, and what to do.

        Args:
            command: The command that relocates.
        """
        names = f"{database} records the files of its runs in {self.recorded}"
        if not self.found:
            return (
                f"{names}, a folder that is not there, and new ones would be written there: put it back, or let "
                f"`{command}` record {self.here}."
            )
        if self.recorded.exists():
            return (
                f"{names}, and they lie in {self.here} too: a copy of a folder would read and write the files of the "
                f"other. `{command}` makes it use its own."
            )
        return f"{names}, and they lie in {self.here}: the folder was moved. `{command}` records the new place."


@dataclass(frozen=True)
class Relocated:
    """What :func:`relocate` has done.

    Attributes:
        moves: The folders that were replaced; empty if nothing had to be done.
        changed: The number of locations that were written anew.
        stayed: The folders that lie only where they were recorded, and stay recorded there.
        copy: The database as it was; None if nothing was done.
    """

    moves: tuple[Move, ...] = ()
    changed: int = 0
    stayed: tuple[Path, ...] = ()
    copy: Path | None = None


def find_moves(uri: str) -> list[Move]:
    """Find the folders in the records of an SQLite store that the database's own folder has replaced.

    Args:
        uri: Its address, absolute; the tables exist.
    """
    engine = create_engine(uri)
    try:
        with engine.connect() as connection:
            return _moves(connection, sqlite_path(uri).parent)
    finally:
        engine.dispose()


def relocate(uri: str, folder: Path | None = None) -> Relocated:
    """Record the files of an SQLite store's runs and models where they lie, in one transaction; keep a copy before.

    A folder that lies only where it was recorded stays recorded there. One that is nowhere, as of a run without files,
    is recorded in the new place.

    Args:
        uri: Its address, absolute; the tables exist.
        folder: The folder in which the files lie; None for the database's own.

    Raises:
        TP1Error: A run or model lies in both places, and the new place lacks some of its files.
    """
    path = sqlite_path(uri)
    engine = create_engine(uri)
    try:
        with engine.connect() as connection:
            if not (moves := _moves(connection, folder or path.parent)):
                return Relocated()
            for column, _, before, after in _affected(connection, moves):
                of_one = column is not SqlExperiment.artifact_location
                if of_one and after.exists() and (missing := _files(before) - _files(after)):
                    raise TP1Error(
                        f"{after} lacks {len(missing)} of the files in {before}, such as {min(missing)}: copy these "
                        "first (cp -rn), then relocate."
                    )
        copy = keep_copy(path, "before-relocate")
        changed, stayed = 0, []
        with engine.begin() as connection:
            for column, value, before, after in list(_affected(connection, moves)):
                if column is not SqlExperiment.artifact_location and before.exists() and not after.exists():
                    stayed.append(before)
                    continue
                written = after.as_uri() if value.startswith("file:") else str(after)
                connection.execute(update(column.class_).where(column == value).values({column: written}))
                changed += 1
        return Relocated(tuple(moves), changed, tuple(sorted(set(stayed))), copy)
    finally:
        engine.dispose()


def _moves(connection: Connection, here: Path) -> list[Move]:
    owned: dict[Path, set[str]] = defaultdict(set)  # the folder of several runs or models: their ids
    for column, key in _OWNED:
        for value, owner in connection.execute(_outside(select(column, key), column, here)):
            if (path := local_path(value)) is not None and path.parent.name == owner:
                owned[path.parent.parent].add(owner)
    found = {base for folder, ids in owned.items() if (base := _replaced(folder, ids, here)) is not None}
    moves = [Move(base, here, found=True) for base in sorted(found)]
    column = SqlExperiment.artifact_location
    for (value,) in connection.execute(_outside(select(column), column, here)):
        path = local_path(value)
        if path is None or path.parent.name != DEFAULT_ROOT or any(path.is_relative_to(base) for base in found):
            continue
        if not (base := path.parent.parent).exists():
            found.add(base)
            moves.append(Move(base, here, found=False))
    return moves


def _replaced(folder: Path, ids: set[str], here: Path) -> Path | None:
    """Return the part of a recorded folder that ``here`` stands for; None if ``here`` has none of the ids."""
    for start in range(1, len(folder.parts)):
        candidate = here.joinpath(*folder.parts[start:])
        if candidate.is_dir() and not ids.isdisjoint(entry.name for entry in candidate.iterdir()):
            same = folder.exists() and folder.samefile(candidate)  # reached by a link
            return None if same else Path(*folder.parts[:start])
    return None


def _affected(connection: Connection, moves: list[Move]) -> Iterator[tuple[Any, str, Path, Path]]:
    """Yield each location below a replaced folder: its column, its value, the path in it, and the new path."""
    here = moves[0].here
    for column in _COLUMNS:
        query = _outside(select(column).distinct(), column, here)
        if column is SqlTraceTag.value:
            query = query.where(SqlTraceTag.key == MLFLOW_ARTIFACT_LOCATION)
        for (value,) in connection.execute(query):
            if (path := local_path(value)) is None:
                continue
            bases = [move.recorded for move in moves if path.is_relative_to(move.recorded)]
            if bases:
                base = max(bases, key=lambda base: len(base.parts))
                yield column, value, path, here / path.relative_to(base)


def _outside(query: Any, column: Any, folder: Path) -> Any:
    """Restrict a query to the locations that are not below a folder, of which there are usually none."""
    prefixes = [f"{folder}/", f"{folder.as_uri()}/"]
    return query.where(column.is_not(None), *(func.substr(column, 1, len(text)) != text for text in prefixes))


def _files(folder: Path) -> set[str]:
    """Return the files below a folder that exists, by their paths; all others have none."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
