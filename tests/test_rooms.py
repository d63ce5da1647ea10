"""The order of the rooms: an import runs down, never up, and no two modules import each other."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import PROJECT

# From the ground up: a room, and those below it that it may import from.
ROOMS = {
    "tp1.base": [],
    "tp1.recipe": ["base"],
    "tp1.config": ["base", "recipe"],
    "tp1.experiment": ["base", "config"],
    "tp1.data": ["base"],
    "tp1.models": ["base", "experiment", "data"],
    "tp1.training": ["base", "recipe", "config", "experiment", "data", "models"],
    "tp1.store": ["base", "config"],
    "tp1.tracking": ["base", "config", "experiment", "data", "models", "training", "store"],
    "tp1.report": ["base", "config", "experiment", "data", "training", "store"],
    "tp1.registry": ["base", "config", "experiment", "data", "models", "training", "store", "tracking", "report"],
    "tp1.preparation": ["base", "config", "experiment", "data", "models", "training", "registry"],
    "tp1.run": "everything below",
    "tp1.sweeps": "everything below",
    "tp1.commands": "everything below",
    "experiments": ["base", "recipe", "config", "experiment", "models", "commands"],
}
NAMES = list(ROOMS)
# Only these know what MLflow is; the others take and return values.
MLFLOW_ROOMS = {"tp1.store", "tp1.tracking", "tp1.registry", "tp1.commands"}


def modules() -> list[Path]:
    return sorted(path for top in ("tp1", "experiments") for path in (PROJECT / top).rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str | None:
    """The room of a module; None for what belongs to none, as ``tp1`` itself."""
    return next((room for room in NAMES if f"{module}.".startswith(f"{room}.")), None)


def imports_of(path: Path, everywhere: bool = True) -> Iterator[str]:
    """The modules that a file imports.

    Args:
        everywhere: Also those that it imports within functions, and for types alone.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides the room"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def allowed(room: str) -> set[str]:
    below = ROOMS[room]
    names = NAMES[: NAMES.index(room)] if isinstance(below, str) else [f"tp1.{name}" for name in below]
    return {*names, room}


def test_the_rooms_stand_in_order():
    for place, (room, below) in enumerate(ROOMS.items()):
        if not isinstance(below, str):
            assert {f"tp1.{name}" for name in below} <= set(NAMES[:place]), room


def test_an_import_runs_down():
    faults = []
    for path in modules():
        module = name_of(path)
        if module == "tp1":
            continue
        room = room_of(module)
        if room is None:
            faults.append(f"{module} stands in no room: move it into one, or add its room to ROOMS")
            continue
        for imported in imports_of(path):
            to = room_of(imported)
            if to is not None and to not in allowed(room):
                faults.append(f"{module} imports {imported}: {room} may not import from {to}")
    assert not faults


def test_no_modules_import_each_other():
    names = {name_of(path): path for path in modules()}
    graph = {
        name: {imported for imported in imports_of(path) if imported in names and imported != name}
        for name, path in names.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"these import each other: {' -> '.join(error.args[1])}")


def test_mlflow_is_known_to_few_rooms():
    knowing = [
        name_of(path)
        for path in modules()
        if any(imported.partition(".")[0] == "mlflow" for imported in imports_of(path))
    ]
    assert len(knowing) > 20
    assert not [name for name in knowing if room_of(name) not in MLFLOW_ROOMS]


def test_experiments_know_no_command_line():
    experiments = [path for path in modules() if path.parent.name == "experiments"]
    assert not [path for path in experiments if any(name.partition(".")[0] == "click" for name in imports_of(path))]


def test_text_files_are_utf_8_in_any_locale():
    calls = [
        (path, node)
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("read_text", "write_text")
    ]
    assert len(calls) > 20
    without = [
        f"{path}:{node.lineno}" for path, node in calls if "encoding" not in {each.arg for each in node.keywords}
    ]
    assert not without
