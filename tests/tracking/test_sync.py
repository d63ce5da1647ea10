"""`tp1 sync` sends what it can: a run that cannot be sent is named, and does not keep the others back."""

from mlflow import MlflowClient

from tests.conftest import invoke
from tests.support.waiting_runs import waiting_run
from tp1.tracking.outbox import entry_paths


def test_a_run_that_cannot_be_sent_keeps_no_other_back(store):
    client = MlflowClient()
    elsewhere = client.create_experiment("elsewhere")
    folders = [waiting_run(elsewhere if number == 3 else "0") for number in range(6)]
    first, deleted, damaged, without_experiment, without_plan, last = folders
    client.delete_run(deleted.run_id)
    client.delete_experiment(elsewhere)
    (damaged.outbox / "000001" / "entry.json").write_text("{")
    (without_plan.path / "plan.json").write_text("{")
    (last.outbox / "1 (copy)").mkdir()
    (last.outbox / "1 (copy)" / "entry.json").write_text("")

    assert invoke("runs").output.count("  unsent  ") == 4
    result = invoke("sync")
    assert result.exit_code == 1
    for folder in (first, without_plan, last):
        assert f"Run {folder.run_id}: 2 entries sent; it is FINISHED." in result.stdout
        assert not folder.is_there
    assert f"Run {deleted.run_id}: run {deleted.run_id} in {store} is deleted: restore it" in result.stderr
    assert f"Run {damaged.run_id}: cannot read {damaged.outbox}/000001/entry.json" in result.stderr
    assert "is deleted with its MLflow experiment elsewhere: restore that" in result.stderr
    assert f"mlflow experiments restore --experiment-id {elsewhere}" in result.stderr
    assert "3 of 6 runs could not be sent" in result.stderr

    client.restore_experiment(elsewhere)
    assert invoke("runs", "--close", deleted.run_id).exit_code == 0
    (damaged.outbox / "000001" / "entry.json").rename(damaged.path / "lost")
    result = invoke("sync")
    assert result.exit_code == 0, result.output
    assert {client.get_run(folder.run_id).info.status for folder in (damaged, without_experiment)} == {"FINISHED"}


def test_a_run_of_an_unknown_store_is_named(store):
    folder = waiting_run()
    (folder.path / "plan.json").write_text("{")
    moved = folder.path.with_name("0" * 32)
    folder.path.rename(moved)
    result = invoke("sync")
    assert result.exit_code == 1
    assert f"Run {'0' * 32}: no run {'0' * 32} in {store}" in result.stderr
    assert len(entry_paths(moved / "outbox")) == 2
