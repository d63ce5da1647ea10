"""Lists of runs on a Ray cluster: what is declared, what is refused, and a node that is lost."""

import os
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import mlflow
import psutil
import pytest

from tests.conftest import all_runs, invoke
from tests.sweeps.test_spread import lines_of, start
from tests.test_rooms import imports_of, modules, name_of
from tp1.base.errors import TP1Error
from tp1.store.reader import RunReader
from tp1.sweeps.spread import Spread
from tp1.tracking.ownership import held
from tp1.tracking.run_folders import folders

QUICK = ("experiment=cnn-base", "dataset=digits", "batch_size=128")


def node(cpus: float = 0, gpus: float = 0) -> dict:
    return {"Resources": {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}}


@pytest.mark.parametrize(
    "arguments",
    [
        ("cnn-base", "seeds=0,1"),
        ("cnnv3-configs",),
        ("main", "only=cnn-base"),
        ("sweep", "experiment=cnn-base", "space=dropout=0.1|0.5", "dataset=digits"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_without_the_extra_the_command_says_what_to_install(store, monkeypatch, arguments):
    monkeypatch.setattr("tp1.sweeps.spread.find_spec", lambda name: None)
    result = invoke(*arguments, "ray=local")
    assert result.exit_code == 1
    remedy = "in the checkout, pip install --editable '.[ray]'."
    assert result.stderr == f"Error: ray=local: Ray is not installed here: {remedy}\n"
    assert [run.info.status for run in all_runs()] == ["FAILED"]


@pytest.mark.parametrize("address", ["", "here", "ray://10.0.0.1:10001", "10.0.0.1", "a b:1", "host:port"])
def test_an_address_is_a_host_and_a_port(address):
    with pytest.raises(TP1Error, match=r"is not known: choose local, auto, or the HOST:PORT that ray start prints."):
        Spread(ray=address)


def test_nothing_imports_ray_without_being_asked():
    at_once = {name_of(path): set(imports_of(path, everywhere=False)) for path in modules()}
    assert [name for name, found in at_once.items() if "ray" in found] == ["tp1.sweeps.ray_cluster"]
    assert not [name for name, found in at_once.items() if "tp1.sweeps.ray_cluster" in found]


def test_each_run_declares_its_share(monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed")
    from tp1.sweeps.ray_cluster import places_of, threads_of

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads_of([node(4), node(2)], None) == 1
    assert threads_of([node(4), node(2)], 2) == 3
    assert threads_of([node(4), node(2)], 1) == 4  # no run is on two nodes
    assert threads_of([node(4), node(2)], 100) == 1
    assert threads_of([node(2), node(8, 2), node(32, 4)], 3) == 4
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert threads_of([node(4)], 4) == 2
    assert [places_of(one, 2, 0) for one in (node(0), node(1), node(5))] == [0, 0, 2]
    assert [places_of(one, 2, 1) for one in (node(8), node(8, 2), node(2, 4))] == [0, 2, 1]


def test_a_store_that_only_one_machine_has_is_refused_on_several(monkeypatch, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed")
    from tp1.sweeps.ray_cluster import check_tracking

    one, several = ["10.0.0.1", "10.0.0.1"], ["10.0.0.1", "10.0.0.2"]
    for uri, message in (
        (f"sqlite:///{tmp_path}/mlflow.db", "is a file of this one: start a server"),
        ("http://127.0.0.1:5000", "for each of them http://127.0.0.1:5000 is itself"),
        ("postgresql://me@localhost/mlflow", "is itself"),
    ):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        check_tracking("auto", one)
        with pytest.raises(TP1Error, match=message):
            check_tracking("auto", several)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example:5000")
    check_tracking("auto", several)


def test_a_node_takes_over_where_it_works_for_whom(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed")
    from tp1.sweeps.ray_cluster import Setting, code_here, do_on_node
    from tp1.sweeps.worker import packed

    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "OMP_NUM_THREADS"):  # what it sets is undone
        monkeypatch.setenv(name, "before")
    setting = Setting({"MLFLOW_TRACKING_URI": "http://tracking:5000"}, "/nowhere", code_here(), "the-parent", 1)

    def on_node(setting: Setting) -> str:
        work = packed(lambda again: f"{os.environ['MLFLOW_TRACKING_URI']}, {os.environ['OMP_NUM_THREADS']} thread")
        done = do_on_node(setting, "cnnv3-s0", work, False, str)
        return str(done.failed or done.value)

    assert "does not see the lock of the parent run the-parent: TP1_STATE_DIR must be one folder" in on_node(setting)
    with held("the-parent"):
        assert on_node(setting) == "http://tracking:5000, 1 thread"
        assert "has version" in on_node(replace(setting, code="version 0"))
        assert "of this project, not version 0: install the same on all nodes." in on_node(
            replace(setting, code="version 0")
        )


@pytest.mark.long  # 25 s
def test_an_address_where_no_cluster_answers_is_one_line(store):
    pytest.importorskip("ray", reason="Ray is not installed")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        process = start("cnn-base", "dataset=digits", "seeds=0,1", f"ray=127.0.0.1:{silent.getsockname()[1]}")
        shown = "".join(lines_of(process))
        assert process.wait() == 1
        assert time.monotonic() - began < 60
    assert re.search(r"^Error: ray=127.0.0.1:\d+: no Ray cluster of this version answers: start one", shown, re.M)
    assert len(shown.splitlines()) <= 2  # the other says where it tracks
    assert [run.info.status for run in all_runs()] == ["FAILED"]


@pytest.fixture
def cluster(tmp_path_factory, monkeypatch) -> Iterator:
    """Three nodes with one CPU each."""
    pytest.importorskip("ray", reason="Ray is not installed")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # Ray keeps a token there
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        yield made
    finally:
        made.shutdown()


@pytest.mark.long
def test_a_store_of_this_machine_is_refused_where_a_node_has_another_address(store, cluster):
    cluster.add_node(num_cpus=1, node_ip_address="127.0.0.2")
    process = start("cnn-base", "dataset=digits", "epochs=1", "seeds=0", f"ray={cluster.address}")
    shown = "".join(lines_of(process))
    assert process.wait() == 1, shown
    assert re.search(
        r"^Error: ray=\S+ has nodes on other machines, and sqlite:///\S+ is a file of this one", shown, re.M
    )
    assert [run.info.status for run in all_runs()] == ["FAILED"]


def trials() -> dict[int, list[mlflow.entities.Run]]:
    found: dict[int, list] = {}
    for run in all_runs():
        if "tp1.trial" in run.data.tags:
            found.setdefault(int(run.data.tags["tp1.trial"]), []).append(run)
    return dict(sorted(found.items()))


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_node_that_is_lost_in_the_middle_costs_nothing_but_time(store, cluster):
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    arguments = (*QUICK, "epochs=20", "space=learning_rate=log:1e-4..1e-2", "trials=5", "pruner=none")
    process = start("sweep", *arguments, f"ray={cluster.address}")
    lines = lines_of(process)
    seen: list[str] = []
    while not all(any(f"{name} " in line and "epoch  3/20" in line for line in seen) for name in names(3)):
        seen.append(next(lines))
    cluster.remove_node(nodes[0], allow_graceful=False)
    shown = "".join([*seen, *lines])
    assert process.wait() == 0, shown
    lost = re.findall(r"^(cnn-base-t\d): its (?:node|process) was lost. It goes on elsewhere.$", shown, re.M)
    assert len(lost) == 1, shown
    assert shown.count("Going on from epoch") == 1
    found = trials()
    assert list(found) == list(range(5))
    for number, runs in found.items():
        (run,) = runs  # none twice
        assert run.info.status == "FINISHED"
        assert run.data.tags.get("tp1.resumed") == ("1" if f"cnn-base-t{number}" in lost else None)
        curve = RunReader().read_histories([run.info.run_id], ["val/accuracy"])[run.info.run_id]["val/accuracy"]
        assert len(curve) == 20
    assert not folders()


def names(count: int) -> list[str]:
    return [f"cnn-base-t{number}" for number in range(count)]


@pytest.mark.long
@pytest.mark.timeout(400)
def test_ctrl_c_ends_the_runs_of_a_cluster_with_checkpoints(store, cluster, tmp_path):
    process = start("cnn-base", "dataset=digits", "epochs=500", "seeds=0,1", f"ray={cluster.address}", "workers=1")
    lines = lines_of(process)
    seen: list[str] = []
    while not any("cnn-base-s0 " in line and "epoch   2/500" in line for line in seen):
        seen.append(next(lines))
    began = time.monotonic()
    process.send_signal(2)
    shown = "".join([*seen, *lines])
    assert process.wait() == 130, shown
    assert time.monotonic() - began < 30
    assert "cnn-base-s1" not in "".join(seen[-3:])  # one at a time
    statuses = {run.info.run_name: run.info.status for run in all_runs()}
    assert statuses == {"cnn-base-seeds": "KILLED", "cnn-base-s0": "KILLED"}
    (folder,) = folders()
    assert (folder.epochs() or 0) >= 2
    assert not [one for one in psutil.process_iter(["name"]) if one.info["name"].startswith("ray::do_on_node")]
    assert os.environ["TP1_STATE_DIR"] == str(Path(folder.path).parent.parent)
