"""promote, rollback and download through a tracking server that fails: the registry stays as it was, or right."""

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.conftest import copy_database, invoke, own_store
from tests.support.faulty_proxy import faulty_proxy
from tests.support.servers import served
from tp1.registry import lock
from tp1.registry.requirements import REQUIRE_TAG

NAME = "tp1-digits"
FAULTS = (502, "lost answer", "hang")  # 500, 503 and a reset are to a client what 502 is: one failed request
WEAK, STRONG = "cnn-base", "cnnv2"
COMMANDS = {
    "promote": ("promote", "dataset=digits", f"experiments={WEAK}"),  # worse than the champion
    "promote a better one": ("promote", "dataset=digits", f"experiments={STRONG}"),
    "promote what is required": ("promote", "dataset=digits", f"experiments={STRONG}", "require=ece:0.9,accuracy:0.2"),
    "rollback": ("rollback", "dataset=digits"),
    "download": ("download", "dataset=digits", "to=here"),
}


@pytest.fixture(scope="module")
def databases(tmp_path_factory, empty_database) -> dict[str, Path]:
    """A store for each command: a weak and a strong model, of which one or both were promoted."""
    folder = tmp_path_factory.mktemp("trained")
    found = {}

    def keep(*names: str) -> None:
        for name in names:
            found[name] = tmp_path_factory.mktemp("kept") / "mlflow.db"
            copy_database(folder / "mlflow.db", found[name].parent)

    with own_store(folder, empty_database):
        for arguments in ((WEAK, "epochs=1", "learning_rate=1e-4"), (STRONG, "epochs=3")):
            assert invoke(*arguments, "dataset=digits").exit_code == 0
        keep("nothing promoted")
        assert invoke(*COMMANDS["promote"]).exit_code == 0  # the weak one is the first champion
        keep("promote a better one", "promote what is required")
        assert invoke(*COMMANDS["promote a better one"]).exit_code == 0
        keep("promote", "rollback", "download")
    found["cache"] = folder / "cache"
    return found


@dataclass(frozen=True)
class Registry:
    """What the registry says.

    Attributes:
        champion, challenger: The experiment behind each alias.
        required: What the champion had to keep to, as its version says.
        is_locked: Whether a promotion holds the lock.
    """

    champion: str | None
    challenger: str | None
    required: str | None
    is_locked: bool


def registry_of(uri: str) -> Registry:
    client = MlflowClient(uri)
    found = {model.name: model.aliases for model in client.search_registered_models()}
    aliases = {
        alias: client.get_run(client.get_model_version(NAME, number).run_id).data.tags["tp1.experiment"]
        for alias, number in found.get(NAME, {}).items()
    }
    champion = found.get(NAME, {}).get("champion")
    required = client.get_model_version(NAME, champion).tags.get(REQUIRE_TAG) if champion else None
    return Registry(aliases.get("champion"), aliases.get("challenger"), required, f"{NAME}-promotion" in found)


@pytest.fixture
def store_of(databases, tmp_path, monkeypatch) -> Callable[[str], str]:
    """Put a command's store and cache into the test's folder, where requests are not repeated; returns its URI."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(lock, "LOCK_SECONDS", 0.5)

    def prepare(command: str) -> str:
        shutil.copytree(databases["cache"], tmp_path / "cache")
        copy_database(databases[command], tmp_path)
        return f"sqlite:///{tmp_path / 'mlflow.db'}"

    return prepare


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("command", COMMANDS)
def test_whichever_request_fails(databases, store_of, monkeypatch, command, fault):
    """Each request in turn meets the fault once: the command fails, or does what it would have done; never a third."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    uri = store_of(command)
    before = registry_of(uri)
    outcomes: Counter[str] = Counter()
    wrong = []
    with served(uri) as address, faulty_proxy(address) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.address)
        # First without a fault: how many requests there are, and what the registry has in the end.
        proxy.restart(None)
        assert invoke(*COMMANDS[command]).exit_code == 0
        after, requests = registry_of(uri), proxy.requests
        for number in range(len(requests)):
            _reset(databases[command], uri)
            shutil.rmtree("here", ignore_errors=True)
            proxy.restart(fault, number)
            result = invoke(*COMMANDS[command])
            found = registry_of(uri)
            state = "unchanged" if _same(found, before) else "done" if _same(found, after) else "wrong"
            outcome = f"exit {result.exit_code}, {state}{', locked' if found.is_locked else ''}"
            outcomes[outcome] += 1
            lines = result.stderr.strip().splitlines()
            if state == "wrong" or (result.exit_code == 0 and not _same(found, after)) or "Traceback" in result.output:
                wrong.append((requests[number], outcome, lines[-1:]))
            if result.exit_code == 0 and command == "download":
                assert json.loads(Path("here/model.json").read_text(encoding="utf-8"))["version"] == 2
    print(f"{command} x {fault}: {len(requests)} requests: {dict(outcomes)}")
    assert not wrong


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("command", COMMANDS)
def test_whichever_kind_of_request_fails(databases, store_of, monkeypatch, command):
    """All requests of one kind fail, so that what a command does after a failure can fail too: one line says so."""
    uri = store_of(command)
    before = registry_of(uri)
    wrong = []
    with served(uri) as address, faulty_proxy(address) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.address)
        proxy.restart(None)
        assert invoke(*COMMANDS[command]).exit_code == 0
        after = registry_of(uri)
        kinds = dict.fromkeys(request.partition(" ")[2] for request in proxy.requests)
        for kind in kinds:
            _reset(databases[command], uri)
            shutil.rmtree("here", ignore_errors=True)
            proxy.restart(502, about=kind)
            result = invoke(*COMMANDS[command])
            found = registry_of(uri)
            print(f"{command}: {kind}: exit {result.exit_code}: {result.stderr.strip().splitlines()[-1:]}")
            ends_well = _same(found, after) or (_same(found, before) and result.exit_code == 1)
            if not ends_well or result.exit_code not in (0, 1) or "Traceback" in result.output:
                wrong.append((kind, result.exit_code, result.output))
    assert not wrong


def _same(one: Registry, other: Registry) -> bool:
    return replace(one, is_locked=False) == replace(other, is_locked=False)


def _reset(database: Path, uri: str) -> None:
    """Bring the tables of the store that is served back to those of ``database``."""
    with sqlite3.connect(database) as source, sqlite3.connect(uri.removeprefix("sqlite:///")) as target:
        source.backup(target)
    source.close()
    target.close()
