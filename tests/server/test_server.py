"""The team's server, as the compose file starts it: everything works through it, for those who may."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tests.conftest import PROJECT, invoke
from tests.support.made_store import make_store, seen
from tests.support.team_server import ADMIN, bucket_of, object_store, team_server
from tp1.data.dataset import load_data
from tp1.store.prepare import prepare_store

API = "/api/2.0/mlflow"
KEPT = {}  # what the tests share
SHOWN = []  # everything that a command printed here


@pytest.fixture(scope="session")
def team(tmp_path_factory):
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    with team_server(tmp_path_factory.mktemp("team")) as server:
        for name in ("ana", "ben"):
            server.add_account(name)
        yield server


@pytest.fixture
def client(team, tmp_path, monkeypatch):
    """Makes this process a client with an account, in an experiment of its own."""

    def become(name: str, password: str | None = None) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", name)
        for key, value in team.environment(name).items():
            monkeypatch.setenv(key, value)
        if password is not None:
            monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)

    yield become
    while mlflow.active_run():
        mlflow.end_run()


@pytest.fixture
def trained(team, client):
    """A run of Ana's, made once."""
    if "trained" not in KEPT:
        client("ana")
        run_command("cnn-base", "dataset=digits", "epochs=1")
        (KEPT["trained"],) = mlflow.search_runs(experiment_names=["ana"], output_format="list")
    return KEPT["trained"]


def run_command(*arguments: str, fails: bool = False) -> str:
    """What a command of ours prints; a failure is one line."""
    result = invoke(*arguments)
    SHOWN.append(result.output)
    assert (result.exit_code != 0) == fails, result.output
    if fails:
        (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
        assert "Traceback" not in result.output
        return line
    return result.output


def ask(team, name: str | None, method: str, path: str, **content) -> int:
    """The status of an answer, without any client of MLflow's."""
    auth = (name, team.accounts[name]) if name else None
    return requests.request(method, f"{team.uri}{path}", auth=auth, timeout=20, **content).status_code


@pytest.mark.long
def test_mlflow_run_tracks_on_it(team, tmp_path):
    environment = {
        **os.environ,
        **team.environment("ana"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    command = [
        "mlflow",
        "run",
        PROJECT,
        "--env-manager",
        "local",
        "-e",
        "cnn-base",
        "--experiment-name",
        "ana-elsewhere",
    ]
    result = subprocess.run(
        [*command, "-P", "dataset=digits", "-P", "epochs=1"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    SHOWN.append(result.stdout + result.stderr)
    assert result.returncode == 0, result.stderr
    with team.account("ana"):
        (run,) = mlflow.search_runs(experiment_names=["ana-elsewhere"], output_format="list")
    assert run.info.status == "FINISHED"
    assert run.outputs.model_outputs


def test_a_run_is_whole(trained, team):
    assert trained.info.status == "FINISHED"
    assert trained.data.tags["mlflow.user"]
    assert trained.info.artifact_uri.startswith("mlflow-artifacts:/")  # the server's to store: clients have no keys
    sizes = bucket_of(team)
    mine = {key.rpartition("artifacts/")[2]: size for key, size in sizes.items() if trained.info.run_id in key}
    assert {"curves.png", "predictions.parquet", "config.json"} <= mine.keys()
    assert all(mine.values())
    (output,) = trained.outputs.model_outputs
    assert any(output.model_id in key and key.endswith("weights.safetensors") for key in sizes)


@pytest.mark.long
def test_who_may_not_promote_is_told_so_and_leaves_no_lock(trained, client):
    client("ana")
    MlflowClient().create_registered_model("tp1-digits")
    client("ben")
    assert "does not allow ben to do that (403)" in run_command("promote", "dataset=digits", fails=True)
    for call, arguments in (
        ("set_registered_model_alias", ("tp1-digits", "champion", "1")),
        ("create_model_version", ("tp1-digits", "models:/m-1")),
        ("delete_registered_model", ("tp1-digits",)),
    ):
        with pytest.raises(MlflowException, match="Permission denied"):
            getattr(MlflowClient(), call)(*arguments)
    assert [model.name for model in MlflowClient().search_registered_models()] == ["tp1-digits"]
    assert not MlflowClient().search_model_versions("name = 'tp1-digits'")


@pytest.mark.long
def test_compare_promote_download_and_predict_work_through_it(trained, client, tmp_path):
    client("ana")
    assert "cnn-base" in run_command("compare")
    assert "tp1-digits version 1 is champion" in run_command("promote", "dataset=digits")
    run_command("download", "dataset=digits", "to=model")
    assert (tmp_path / "model" / "weights.safetensors").stat().st_size > 10_000
    np.save(tmp_path / "images.npy", load_data("digits").test.images[:3])
    run_command("predict", "images=images.npy", "model=models:/tp1-digits@champion")


@pytest.mark.long
def test_another_ones_run_is_promoted_and_rolled_back(trained, client):
    client("ana")
    run_command("promote", "dataset=digits")
    client("ben")
    run_command("cnn-base", "dataset=digits", "epochs=3")
    client("ana")
    assert "version 2 is champion" in run_command("promote", "dataset=digits", "force=so that there are two")
    assert "version 1 is champion again" in run_command("rollback", "dataset=digits")


@pytest.mark.long
def test_a_report_works_through_it(trained, client, tmp_path):
    client("ben")
    run_command("report", "to=report")
    assert list(tmp_path.glob("report*"))


@pytest.mark.long
def test_records_work_through_it(trained, client, tmp_path):
    client("ben")
    run_command("export", trained.info.run_id, "to=records")
    assert "is there already" in run_command("import", "records")


@pytest.mark.long
def test_mlflows_own_credential_file_serves_as_well(trained, team, client, tmp_path, monkeypatch):
    client("ana")
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "asks who you are (401)" in run_command("compare", fails=True)
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text(
        f"[mlflow]\nmlflow_tracking_username = ana\nmlflow_tracking_password = {team.accounts['ana']}\n"
    )
    assert "cnn-base" in run_command("compare")


def test_without_credentials_nothing_is_answered(trained, team):
    assert requests.get(f"{team.uri}/health", timeout=5).status_code == 200  # for the health check alone
    for method, path in (
        ("GET", f"{API}/experiments/search?max_results=1"),
        ("GET", f"{API}/runs/get?run_id={trained.info.run_id}"),
        ("POST", f"{API}/runs/create"),
        ("GET", "/api/2.0/mlflow-artifacts/artifacts?path="),
        ("GET", f"/get-artifact?path=config.json&run_uuid={trained.info.run_id}"),
        ("GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk?run_id=x&metric_key=y"),
        ("GET", f"{API}/users/list"),
    ):
        assert ask(team, None, method, path) == 401, path


def test_a_wrong_password_is_said_in_one_line(team, client):
    client("ana", password="not-anas-password")
    line = run_command("cnn-base", "dataset=digits", fails=True)
    assert "does not accept the name ana with this password (401)" in line
    assert "not-anas-password" not in line


def test_a_foreign_host_header_is_refused_and_said(team, client, monkeypatch):
    path = f"{team.uri}{API}/experiments/search?max_results=1"
    auth = ("ana", team.accounts["ana"])
    assert requests.get(path, headers={"Host": "evil.example"}, auth=auth, timeout=5).status_code == 403
    client("ana")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", team.uri.replace("127.0.0.1", "0.0.0.0"))
    line = run_command("compare", fails=True)
    assert "does not answer to the name 0.0.0.0:" in line
    assert "(403)" in line


def test_a_page_of_another_origin_changes_nothing(team):
    headers = {"Origin": "https://evil.example"}
    assert ask(team, "ana", "POST", f"{API}/runs/create", headers=headers, json={"experiment_id": "0"}) == 403


def test_another_ones_run_can_be_read_and_not_changed(trained, team, client):
    run_id = trained.info.run_id
    artifacts = f"/api/2.0/mlflow-artifacts/artifacts/{trained.info.experiment_id}/{run_id}/artifacts"
    assert ask(team, "ben", "GET", f"{API}/runs/get?run_id={run_id}") == 200
    assert ask(team, "ben", "GET", f"{artifacts}/config.json") == 200
    for method, path, body in (
        ("POST", "runs/log-metric", {"run_id": run_id, "key": "val/accuracy", "value": 1.0, "timestamp": 0}),
        ("POST", "runs/log-batch", {"run_id": run_id, "metrics": []}),
        ("POST", "runs/set-tag", {"run_id": run_id, "key": "tp1.remark", "value": "x"}),
        ("POST", "runs/update", {"run_id": run_id, "status": "FAILED"}),
        ("POST", "runs/delete", {"run_id": run_id}),
        ("POST", "runs/create", {"experiment_id": trained.info.experiment_id}),
        ("POST", "experiments/delete", {"experiment_id": trained.info.experiment_id}),
    ):
        assert ask(team, "ben", method, f"{API}/{path}", json=body) == 403, path
    assert ask(team, "ben", "PUT", f"{artifacts}/config.json", data=b"{}") == 403
    assert ask(team, "ben", "DELETE", f"{artifacts}/config.json") == 403
    client("ben")
    with pytest.raises(MlflowException, match="Permission denied"):
        MlflowClient().log_metric(run_id, "val/accuracy", 1.0)
    with team.account("ana"):
        assert "tp1.remark" not in MlflowClient().get_run(run_id).data.tags


def test_who_may_not_write_is_told_so_in_one_line(trained, client, monkeypatch):
    client("ben")
    for name in ("ana", "Default"):
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", name)
        line = run_command("cnn-base", "dataset=digits", "epochs=1", fails=True)
        assert "does not allow ben to do that (403)" in line
        assert "MLFLOW_EXPERIMENT_NAME" in line


def test_accounts_are_the_administrators_matter(team):
    body = {"username": "eve", "password": "a-password-of-eve"}
    assert ask(team, "ben", "POST", f"{API}/users/create", json=body) == 403
    assert ask(team, "ben", "PATCH", f"{API}/users/update-admin", json={"username": "ben", "is_admin": True}) == 403
    assert ask(team, ADMIN, "GET", f"{API}/users/get?username=ana") == 200


def test_accounts_are_made_and_things_are_shared(trained, team, client):
    client(ADMIN)
    values = dict(line.split("=", 1) for line in invoke("account", "eve").output.splitlines())  # shown this once
    team.accounts["eve"] = values["MLFLOW_TRACKING_PASSWORD"]
    assert values["MLFLOW_TRACKING_USERNAME"] == "eve"
    assert "eve cannot be added" in run_command("account", "eve", fails=True)
    client("eve")
    assert "does not allow eve to do that (403)" in run_command("account", "mallory", fails=True)
    assert "does not allow eve" in run_command("share", "eve", "experiment=ana", fails=True)  # Ana's to decide
    client("ana")
    run_command("share", "eve", "experiment=ana")
    assert "there is no experiment none" in run_command("share", "eve", "experiment=none", fails=True)
    assert "give either" in run_command("share", "eve", fails=True)
    client("eve")
    MlflowClient().set_tag(trained.info.run_id, "seen", "by eve")
    with pytest.raises(MlflowException, match="Permission denied"):
        MlflowClient().delete_run(trained.info.run_id)  # editing is not deleting


def test_a_store_without_accounts_says_so(store):
    assert "has no accounts" in run_command("account", "eve", fails=True)


@pytest.mark.long
def test_a_persons_store_is_moved_to_it(trained, client, tmp_path, monkeypatch):
    mine = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mine)
    prepare_store()
    make_store(trained=False)
    client("ben")  # who may not write to the experiments Default and tp1, so his own get a name before theirs
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "ben")
    assert "does not allow ben to do that (403)" in run_command("migrate", mine, fails=True)
    output = run_command("migrate", mine, "prefix=ben/", fails=True)
    assert "does not allow ben to do that (403)" in output  # for tp1-digits is Ana's
    client(ADMIN)
    output = run_command("migrate", mine)
    assert "tp1-digits@champion  left: it is version 1 here" in output  # a migration deposes nobody
    assert "2 copied, 3 there already, 2 left" in output
    before, after = seen(mine), seen(mlflow.get_tracking_uri(), only_copies=True)
    for run_id, run in before.items():
        if run["info"][1] != "RUNNING":
            for key, value in run.items():
                if key != "experiment":
                    assert value == after[run_id][key], f"{run['info'][0]}: {key}"
    again = run_command("migrate", mine)
    assert "0 copied, " in again


@pytest.mark.long
def test_a_backup_brings_back_database_and_objects(trained, team, client, tmp_path):
    """The Makefile's own targets; a stand-in for `docker compose` runs the containers' commands here."""
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin" / "docker"
    docker.write_text(
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/asked
case "$*" in
"compose exec -T database "*) shift 4; program=$1; shift; exec {team.database.binaries}/$program "$@" ;;
"compose run --rm -T bucket "*) exec {sys.executable} {PROJECT}/deploy/objects.py $6 ;;
"compose stop tracking" | "compose up --detach --wait tracking") ;;
*) echo "docker is not to be asked for $*" >&2; exit 1 ;;
esac
"""
    )
    docker.chmod(0o755)
    environment = {**os.environ, **team.store, **team.database.environment()}
    environment["PATH"] = f"{tmp_path}/bin:{os.environ['PATH']}"

    def make(*arguments: str) -> subprocess.CompletedProcess:
        # make puts .venv/bin before PATH, where there is no docker
        command = ["make", "--directory", PROJECT, "--no-print-directory", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    backup = tmp_path / "backup"
    client("ana")
    run_id, objects = trained.info.run_id, bucket_of(team)
    result = make("server-backup", f"TO={backup}")
    assert result.returncode == 0, result.stderr
    assert {path.name for path in backup.iterdir()} == {"database.dump", "objects.tar"}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in backup.iterdir())
    MlflowClient().set_tag(run_id, "tp1.remark", "made after the backup")
    MlflowClient().delete_run(run_id)
    lost = [key for key in objects if run_id in key]
    object_store(team).delete_objects(Bucket="tp1", Delete={"Objects": [{"Key": key} for key in lost]})
    assert len(bucket_of(team)) == len(objects) - len(lost)
    result = make("server-restore", f"FROM={backup}")
    assert result.returncode == 0, result.stderr
    run = MlflowClient().get_run(run_id)
    assert run.info.lifecycle_stage == "active"
    assert "tp1.remark" not in run.data.tags
    assert bucket_of(team) == objects
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [line.split()[1] for line in asked] == ["exec", "run", "stop", "run", "exec", "up"]
    result = make("server-restore", f"FROM={tmp_path}/none")
    assert result.returncode != 0
    assert "is no whole backup" in result.stderr


def test_the_server_answers_from_several_processes(team):
    assert team.log.count("Application startup complete") == 2


def test_secrets_appear_nowhere(trained, team, client, tmp_path):
    """In no log, run, artifact, message or command line. (Last: after all that the tests above did.)"""
    dump = team.database.run("pg_dump", "--inserts", "tp1")
    assert trained.info.run_id in dump
    command = [sys.executable, PROJECT / "deploy" / "objects.py", "save"]
    objects = subprocess.run(command, env={**os.environ, **team.store}, capture_output=True, check=True)
    lines = [json.dumps(process.cmdline()) for process in team.processes()]
    database_log = (team.database.folder / "log").read_text()
    places = {
        "the server's log": team.log.encode(),
        "the database": dump.encode(),
        "the database's log": database_log.encode(),
        "the objects": objects.stdout,
        "what was printed": "".join(SHOWN).encode(),
        "command lines": "".join(lines).encode(),
    }
    assert all(places.values())
    for name, secret in [*team.secrets.items(), *team.accounts.items()]:
        for place, content in places.items():
            assert secret.encode() not in content, f"{name} in {place}"
