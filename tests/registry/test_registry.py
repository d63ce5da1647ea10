"""The registry's own rules: one lock, one version for a model, digests that are checked."""

import threading
import time
from contextlib import nullcontext

import mlflow
import pytest
from mlflow import MlflowClient

from tests.support.servers import served
from tp1.base.digests import check_digests, file_digests
from tp1.base.errors import TP1Error
from tp1.registry import lock as locks
from tp1.registry import versions as registry
from tp1.registry.lock import promotion_lock
from tp1.registry.stored_models import find_model, find_model_of_run
from tp1.registry.versions import find_version


def logged_model() -> str:
    return MlflowClient().create_logged_model("0", name="model").model_id


def test_one_model_has_one_version(store):
    first, second = logged_model(), logged_model()
    run_id = MlflowClient().create_run("0").info.run_id
    versions = [registry.register("tp1-shapes", run_id, model_id) for model_id in (first, second, first)]
    assert [version.number for version in versions] == [1, 2, 1]
    assert [version.model_id for version in versions] == [first, second, first]


def test_a_champion_is_no_longer_challenger(store):
    run_id = MlflowClient().create_run("0").info.run_id
    old, new = (registry.register("tp1-shapes", run_id, logged_model()) for _ in range(2))
    registry.make_champion(old)
    registry.make_challenger(new)
    assert find_version("tp1-shapes", "challenger") == registry.register("tp1-shapes", run_id, new.model_id)
    registry.make_champion(new)
    assert find_version("tp1-shapes", "champion").number == new.number
    assert find_version("tp1-shapes", "challenger") is None
    assert find_version("tp1-shapes", 2).aliases == ("champion",)
    assert find_version("tp1-shapes", 3) is None
    assert find_version("nothing", "champion") is None


@pytest.mark.parametrize("over_http", [False, pytest.param(True, marks=pytest.mark.long)])
def test_the_lock_lets_one_in_at_a_time(store, over_http, monkeypatch, capsys):
    def work() -> None:
        with promotion_lock("tp1-shapes"):
            entered.append(time.monotonic())
            assert not inside
            inside.append(1)
            time.sleep(0.2)
            inside.pop()

    entered: list[float] = []
    inside: list[int] = []
    with served(store) if over_http else nullcontext("") as address:
        if over_http:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(entered) == 3
        assert all(later - earlier >= 0.2 for earlier, later in zip(sorted(entered), sorted(entered)[1:], strict=False))
        assert not mlflow.search_registered_models()
    assert "Waiting for another promotion" in capsys.readouterr().out


def test_a_lock_whose_holder_is_at_work_is_said_with_its_holder(store, monkeypatch):
    monkeypatch.setattr(locks, "LOCK_SECONDS", 0.5)
    monkeypatch.setattr(locks, "STALE_SECONDS", 0.3)
    monkeypatch.setattr(locks, "RENEW_SECONDS", 0.05)
    with (
        promotion_lock("tp1-shapes") as lock,
        pytest.raises(TP1Error, match=rf"tp1-shapes is locked, and its holder is at work: {registry.who()} "),
        promotion_lock("tp1-shapes"),
    ):
        pass
    assert not mlflow.search_registered_models()
    with pytest.raises(TP1Error, match="went to another process"):
        lock.check()
    with pytest.raises(ZeroDivisionError), promotion_lock("tp1-shapes"):  # it is released whatever happens
        _ = 1 / 0
    with promotion_lock("tp1-shapes"):
        pass


@pytest.mark.parametrize("tags", [pytest.param({}, marks=pytest.mark.long), {"tp1.holder": "dead", "tp1.renewed": "3"}])
def test_a_lock_that_its_holder_left_is_taken_over_by_one(store, monkeypatch, capsys, tags):
    monkeypatch.setattr(locks, "STALE_SECONDS", 0.3)
    monkeypatch.setattr(locks, "SETTLE_SECONDS", 0.3)
    MlflowClient().create_registered_model("tp1-shapes-promotion", tags, "ana@gone is changing tp1-shapes.")
    entered: list[float] = []

    def work() -> None:
        with promotion_lock("tp1-shapes") as lock:
            lock.check()
            entered.append(time.monotonic())
            time.sleep(0.2)
            lock.check()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entered) == 3
    assert all(later - earlier >= 0.2 for earlier, later in zip(sorted(entered), sorted(entered)[1:], strict=False))
    assert "Taking over a lock that was not renewed for 0 s: ana@gone" in capsys.readouterr().out
    assert not mlflow.search_registered_models()


def test_who_lost_the_lock_changes_nothing_and_leaves_the_new_holders_lock(store):
    client = MlflowClient()
    with promotion_lock("tp1-shapes") as lock:
        client.delete_registered_model("tp1-shapes-promotion")
        client.create_registered_model("tp1-shapes-promotion", {"tp1.holder": "another"})
        with pytest.raises(TP1Error, match="tp1-shapes-promotion went to another process"):
            lock.check()
    assert client.get_registered_model("tp1-shapes-promotion").tags == {"tp1.holder": "another"}


def test_a_description_is_cut_where_the_database_ends(store):
    version = registry.register("tp1-shapes", MlflowClient().create_run("0").info.run_id, logged_model())
    registry.describe(version, "a line\n" * 714, {"a": "b"})
    assert find_version("tp1-shapes", 1).description == "a line\n" * 714
    registry.describe(version, "a line\n" * 715, {})
    found = find_version("tp1-shapes", 1)
    assert len(found.description) <= registry.DESCRIPTION_LIMIT
    assert found.description.endswith("a line\n\n(Cut off here: see the run.)\n")
    assert found.tags["a"] == "b"


def test_files_that_differ_are_named(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "model.pt2").write_bytes(b"program")
    recorded = file_digests(tmp_path)
    assert list(recorded) == ["data/model.pt2"]
    check_digests(tmp_path, recorded, "version 1", "restore it")
    (tmp_path / "data" / "model.pt2").write_bytes(b"PROGRAM")
    with pytest.raises(TP1Error, match=r"version 1 is refused: its file data/model\.pt2 is not the one"):
        check_digests(tmp_path, recorded, "version 1", "restore it")
    (tmp_path / "data" / "model.pt2").unlink()
    with pytest.raises(TP1Error, match=r"version 1 lacks its file data/model\.pt2: restore it\."):
        check_digests(tmp_path, recorded, "version 1", "restore it")


@pytest.mark.parametrize("uri", ["models:/nothing@champion", "models:/nothing/3", "models:/m-0", "nothing", ""])
def test_a_model_that_is_not_there_is_said(store, uri):
    with pytest.raises(TP1Error, match=f"no model {uri}"):
        find_model(uri)


def test_a_run_without_a_model_is_said(store):
    with pytest.raises(TP1Error, match="has no model here"):
        find_model_of_run(MlflowClient().create_run("0").info.run_id)
    with pytest.raises(TP1Error, match="no run 0123"):
        find_model_of_run("0123")
