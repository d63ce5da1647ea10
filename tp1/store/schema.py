"""The tables of a tracking database: whether the MLflow here can use them as they are, and their upgrade.

MLflow upgrades the database of an older MLflow in place, without a word, as soon as it is opened; afterwards the older
one cannot read it. It also adds its tables to a database of any other program. Here both need a decision.
"""

from functools import cache

import mlflow
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from filelock import FileLock
from mlflow.store.db import utils
from mlflow.store.db.base_sql_model import Base
from mlflow.store.tracking.dbmodels.initial_models import Base as FirstBase
from mlflow.store.tracking.dbmodels.models import SqlExperiment
from sqlalchemy import Engine, create_engine, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from tp1.base.errors import TP1Error, why
from tp1.store.addresses import is_sqlite, masked, sqlite_path
from tp1.store.backups import keep_copy, restore

CURRENT, OLDER, NEWER, FOREIGN, DAMAGED = "current", "older", "newer", "foreign", "damaged"


def check_schema(uri: str, command: str) -> None:
    """Make sure that MLflow can open a database without changing what is in it; an empty one gets its tables then.

    Args:
        uri: The database's address, absolute.
        command: The command that upgrades it.

    Raises:
        TP1Error: It was written by another MLflow or another program, lacks tables, or cannot be opened.
    """
    what = str(sqlite_path(uri)) if is_sqlite(uri) else masked(uri)
    engine = _engine(uri, what)
    try:
        state, tables = _state(engine)
    except SQLAlchemyError as error:
        raise TP1Error(f"cannot open the tracking database {what}: {why(error)}") from error
    finally:
        engine.dispose()
    here = f"MLflow {mlflow.__version__}"
    if state == OLDER:
        remedy = f"`{command}` keeps a copy and" if is_sqlite(uri) else "back it up, then `mlflow db upgrade ADDRESS`"
        raise TP1Error(
            f"{what} was written by an older MLflow, and {here} can use it only after an upgrade: {remedy} changes it; "
            "the older MLflow cannot read it then."
        )
    if state == NEWER:
        raise TP1Error(
            f"{what} was written by a newer MLflow than {here}, which cannot read it: install the newer one, or use "
            "another store (MLFLOW_TRACKING_URI)."
        )
    if state == FOREIGN:
        raise TP1Error(f"{what} is a database of another program, with the table {min(tables)}: give another file.")
    if state == DAMAGED:
        raise TP1Error(f"{what} is damaged, and lacks the table {min(tables)}: put a copy of it in its place.")


def upgrade(uri: str) -> str:
    """Upgrade an SQLite database of an older MLflow for the one here; return what was done, in one line.

    Raises:
        TP1Error: The copy cannot be written, or the upgrade failed; the database is then as it was.
    """
    path = sqlite_path(uri)
    engine = _engine(uri, str(path))
    try:
        with FileLock(lock_of(uri)):
            if _state(engine)[0] != OLDER:
                return f"Nothing to upgrade: {path} is not of an older MLflow."
            copy = keep_copy(path, "before-upgrade")
            try:
                utils._initialize_tables(engine)  # creates the first tables where there are none, then upgrades
            except Exception as error:
                restore(path, copy)
                raise TP1Error(f"{path} cannot be upgraded, and is as it was: {why(error)}") from error
    except SQLAlchemyError as error:
        raise TP1Error(f"cannot open the tracking database {path}: {why(error)}") from error
    finally:
        engine.dispose()
    return f"{path} is upgraded for MLflow {mlflow.__version__}; {copy} is the database as it was."


def lock_of(uri: str) -> str:
    """Return the lock file for creating and changing the tables of an SQLite database."""
    path = sqlite_path(uri)
    return str(path.with_name(f".{path.name}.lock"))


def _engine(uri: str, what: str) -> Engine:
    try:
        return create_engine(uri)
    except (SQLAlchemyError, ImportError) as error:  # such as a driver that is not installed
        raise TP1Error(f"cannot open the tracking database {what}: {why(error)}") from error


def _state(engine: Engine) -> tuple[str, set[str]]:
    """Return a database's state, and the tables that are foreign or missing."""
    names = {name for name in inspect(engine).get_table_names() if not name.startswith("alembic_")}
    missing = set(Base.metadata.tables) - names
    if not {"experiments", "runs"} <= names:
        foreign = names - set(FirstBase.metadata.tables)
        return (FOREIGN, foreign) if foreign else (CURRENT, missing)  # of an empty one: MLflow creates its tables
    if missing and _is_unused(engine):  # a creation was cut off: MLflow completes it
        return CURRENT, missing
    revision = utils._get_schema_version(engine)
    if revision == _latest_revision():
        return (DAMAGED, missing) if missing else (CURRENT, set())
    return (OLDER if revision is None or _is_known(revision) else NEWER), set()


@cache  # MLflow reads all of its migrations for it
def _latest_revision() -> str:
    return str(utils._get_latest_schema_revision())


def _is_unused(engine: Engine) -> bool:
    """Whether a database has no experiment: MLflow's default one is the first thing that is written."""
    with engine.connect() as connection:
        return connection.execute(select(SqlExperiment.experiment_id).limit(1)).first() is None


def _is_known(revision: str) -> bool:
    try:
        ScriptDirectory.from_config(utils._get_alembic_config("")).get_revision(revision)
    except CommandError:
        return False
    return True
