"""Sweeps in a real store: trials, pruning, a kill, and what the commands make of them."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient

from tests.conftest import PROJECT, all_runs, copy_database, invoke
from tests.support.catalog import catalog
from tests.support.made_runs import experiment_of
from tp1.commands.sweep import sweep_command
from tp1.report.selection import select
from tp1.store.reader import RunReader
from tp1.sweeps.proposals import Proposer, replay
from tp1.sweeps.space import MOST_TRIALS, PRUNERS, SAMPLERS, TRIALS, parse_space
from tp1.sweeps.sweep import make_search
from tp1.tracking.resumption import find_unfinished
from tp1.tracking.run_folders import folders

QUICK = ("experiment=cnn-base", "dataset=digits", "batch_size=128")
GRID = ("sweep", *QUICK, "epochs=2", "space=learning_rate=1e-3|1|1e30", "sampler=grid")


def trials() -> dict[int, mlflow.entities.Run]:
    """The trials in the store by number; each has one run."""
    found = [run for run in all_runs() if "tp1.trial" in run.data.tags]
    by_number = {int(run.data.tags["tp1.trial"]): run for run in found}
    assert len(by_number) == len(found)
    return dict(sorted(by_number.items()))


def artifacts(run) -> set[str]:
    return {file.path for file in MlflowClient().list_artifacts(run.info.run_id)}


@pytest.fixture(scope="module")
def sweep_folder(tmp_path_factory, empty_database) -> Path:
    """A folder with store, cache and state."""
    folder = tmp_path_factory.mktemp("swept")
    copy_database(empty_database, folder)
    return folder


@pytest.fixture
def swept(sweep_folder, monkeypatch) -> str:
    """The store has a sweep of three trials: a good one, one that is pruned, and one that diverges; its output."""
    monkeypatch.chdir(sweep_folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{sweep_folder / 'mlflow.db'}")
    monkeypatch.setenv("TP1_CACHE_DIR", str(sweep_folder / "cache"))
    monkeypatch.setenv("TP1_STATE_DIR", str(sweep_folder / "state"))
    output = sweep_folder / "output.txt"
    if not output.exists():
        result = invoke(*GRID)
        assert result.exit_code == 0, result.output
        output.write_text(result.output, encoding="utf-8")
    return output.read_text(encoding="utf-8")


def test_a_sweep_is_exported_with_its_pruned_trials_and_loaded_as_one(swept, tmp_path, monkeypatch, empty_database):
    (parent,) = (run for run in all_runs() if run.info.run_name == "sweep-cnn-base")
    exported = invoke("export", parent.info.run_id, "--to", str(tmp_path / "kept"))
    assert exported.exit_code == 0, exported.output
    with_model = invoke("export", parent.info.run_id, "--with-model", "--to", str(tmp_path / "models"))
    assert with_model.exit_code == 0, with_model.output
    (weights,) = (tmp_path / "models").rglob("weights.safetensors")  # a pruned trial has no model
    assert weights.parent.name == "cnn-base-t0"
    before = trials()
    copy_database(empty_database, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    for new in (3, 0):
        loaded = invoke("import", "kept")
        assert f"{new} new reference runs" in loaded.output, loaded.output
    after = trials()
    assert {number: run.info.status for number, run in after.items()} == {0: "FINISHED", 1: "KILLED", 2: "KILLED"}
    assert [run.data.metrics for run in after.values()] == [run.data.metrics for run in before.values()]
    (sweep,) = select(RunReader(), [], None).sweeps
    assert (sweep.counts, sweep.epochs_saved) == ({"finished": 1, "pruned": 2}, 3)
    assert "resume" not in invoke("runs").output  # a pruned trial is over


def test_a_trial_is_a_run_and_a_pruned_one_is_never_a_finished_one(swept):
    good, bad, diverged = trials().values()
    assert [run.info.status for run in (good, bad, diverged)] == ["FINISHED", "KILLED", "KILLED"]
    assert [run.data.tags.get("tp1.pruned") for run in (good, bad, diverged)] == [None, "1", "0"]
    parent = next(run for run in all_runs() if run.info.run_name == "sweep-cnn-base")
    for number, run in trials().items():
        assert run.info.run_name == f"cnn-base-t{number}"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["tp1.sweep"] == parent.data.tags["tp1.sweep"]
        assert {"config.json", "environment.txt", "model_summary.txt"} <= artifacts(run)
    # Of test images, the pruned ones know nothing.
    assert "test/accuracy" in good.data.metrics
    for run in (bad, diverged):
        assert not [name for name in run.data.metrics if name.startswith("test")]
        assert not run.outputs.model_outputs
    assert "Pruned after epoch 1 of 2: validation accuracy" in bad.data.tags["mlflow.note.content"]
    assert "Pruned after epoch 0 of 2: the training loss became" in diverged.data.tags["mlflow.note.content"]
    assert bad.data.metrics["best/val_accuracy"] < good.data.metrics["best/val_accuracy"]
    assert not folders()
    assert "No unfinished runs." in invoke("runs").output


def test_the_parent_has_the_best_the_counts_and_the_command(swept):
    parent = next(run for run in all_runs() if run.info.run_name == "sweep-cnn-base")
    best = trials()[0]
    assert parent.info.status == "FINISHED"
    assert parent.data.params["space"] == "learning_rate=0.001|1.0|1e+30"
    assert {name: value for name, value in parent.data.metrics.items() if name.startswith("sweep/")} == {
        "sweep/finished": 1,
        "sweep/pruned": 2,
        "sweep/not_finished": 0,
        "sweep/epochs_run": 3,
        "sweep/epochs_saved": 3,
        "sweep/best_val_accuracy": best.data.metrics["best/val_accuracy"],
    }
    assert {"trials.csv", "history.png", "parallel_coordinates.png"} <= artifacts(parent)
    table = pd.read_csv(io.StringIO(mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/trials.csv")))
    assert table["state"].tolist() == ["finished", "pruned", "pruned"]
    assert table["epochs"].tolist() == [2, 1, 0]
    command = (
        "mlflow run . -e cnn-base -P dataset=digits -P batch_size=128 -P epochs=2 -P learning_rate=0.001 -P seeds=0,1,2"
    )
    assert f"Train the best with several seeds: {command}\n" in swept
    assert command in parent.data.tags["mlflow.note.content"]
    assert "3 trials: 1 finished, 2 stopped early, 0 not finished; 3 of 6 epochs run, 3 (50%) saved." in swept


def test_the_same_command_does_nothing_again_and_takes_the_trials_over(swept):
    before = {number: run.info.run_id for number, run in trials().items()}
    again = invoke(*(part.replace("1e-3", "0.001") for part in GRID))
    assert again.exit_code == 0, again.output
    assert "3 runs, 3 of them finished already" in again.output
    assert {number: run.info.run_id for number, run in trials().items()} == before
    newest = next(run for run in all_runs() if run.info.run_name == "sweep-cnn-base")
    assert {run.data.tags["mlflow.parentRunId"] for run in trials().values()} == {newest.info.run_id}
    other = select(RunReader(), catalog()).sweeps
    assert len(other) == 1


def test_trials_are_one_line_that_opens_and_no_rows(swept, tmp_path):
    result = invoke("compare", f"to={tmp_path / 'out'}")
    assert result.exit_code == 0, result.output
    (row,) = (line for line in result.output.splitlines() if line.startswith("cnn-base"))
    assert row.split()[:4] == ["cnn-base", "(epochs=2,", "batch_size=128)", "digits"]
    assert "0: learning_rate=0.001" in row
    page = (tmp_path / "out" / "compare.html").read_text(encoding="utf-8")
    assert page.count("<details>") == 1
    assert "3 trials, 1 finished, 2 stopped early; 50% of their epochs saved." in page
    opened = page[page.index("<details>") : page.index("</details>")]
    assert opened.count("<tr>") == 4  # a head and the trials
    assert "stopped after epoch 1" in opened
    assert invoke("compare", "experiments=cnnv3").exit_code == 1  # no sweep of that
    report = invoke("report", f"to={tmp_path / 'report'}")
    assert report.exit_code == 0, report.output
    assert (tmp_path / "report" / "report.html").read_text(encoding="utf-8").count("<details>") == 1
    assert "## Sweeps" in (tmp_path / "report" / "RESULTS.md").read_text(encoding="utf-8")


def test_a_trial_is_no_finished_run_of_its_parameters(swept):
    promoted = invoke("promote", "dataset=digits")
    assert promoted.exit_code == 1
    assert "no finished run on digits" in promoted.stderr
    pruned = trials()[1].info.run_id
    resumed = invoke("cnn-base", *GRID[2:4], "epochs=2", "learning_rate=1", f"resume={pruned}")
    assert resumed.exit_code == 1
    assert f"run {pruned} is a trial of a sweep that was stopped early, after epoch 1, and is over" in resumed.stderr
    # What `seeds=` skips, and what a fresh run of the same parameters is compared with, are no trials.
    assert list(RunReader().find_runs("cnn-base")) == []


@pytest.mark.long  # 11 s
def test_a_killed_sweep_goes_on_and_finished_trials_are_never_done_again(store):
    arguments = ("sweep", *QUICK, "epochs=2", "space=learning_rate=log:1e-4..1e-2,dropout=0.0..0.5", "trials=2")
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments", *arguments],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    seen = ""
    assert process.stdout is not None
    for line in process.stdout:
        seen += line
        if "cnn-base-t1" in seen and line.startswith("epoch 1/2"):  # in the second trial
            process.send_signal(signal.SIGKILL)
            break
    process.stdout.close()
    process.wait()
    before = trials()
    assert {number: run.info.status for number, run in before.items()} == {0: "FINISHED", 1: "RUNNING"}
    plan = folders()[0].plan()
    assert find_unfinished(experiment_of("cnn-base"), plan.config) is None  # resume=auto takes no trial

    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    assert "2 runs, 1 of them finished already" in result.output
    assert "Going on from epoch" in result.output
    after = trials()
    assert [after[number].info.run_id for number in (0, 1)] == [before[number].info.run_id for number in (0, 1)]
    assert after[0].info.end_time == before[0].info.end_time
    assert after[1].data.tags["tp1.resumed"] == "1"
    assert not folders()
    # The proposals are those of a sweep that nobody killed.
    space, _ = parse_space(arguments[5].removeprefix("space="), experiment_of("cnn-base"), {})
    proposer = Proposer(after[0].data.tags["tp1.sweep"], space, "tpe", "hyperband", 0, 2)
    for run in after.values():
        proposal = proposer.propose()
        assert {name: str(value) for name, value in proposal.values.items()} == {
            name: run.data.params[name] for name in space.names
        }
        curve = RunReader().read_histories([run.info.run_id], ["val/accuracy"])[run.info.run_id]["val/accuracy"]
        replay(proposal, curve, max(curve) if run.info.status == "FINISHED" else None)


def test_a_trial_on_another_machine_is_not_done_beside_it(store, monkeypatch):
    fixed = {"dataset": "digits", "batch_size": 128, "epochs": 2}
    search = make_search(experiment_of("cnn-base"), fixed, "learning_rate=1e-3|1|1e30", None, "grid", "hyperband", "")
    tags = {"tp1.sweep": search.digest, "tp1.trial": "0", "tp1.machine": "elsewhere"}
    client = MlflowClient()
    run = client.create_run("0", tags=tags)
    result = invoke(*GRID, "trials=1")
    assert result.exit_code == 1
    assert f"run {run.info.run_id} of this sweep is going on on elsewhere: wait for it." in result.stderr
    assert f"(tp1 runs --close {run.info.run_id})" in result.stderr
    assert invoke("runs", "--close", run.info.run_id).exit_code == 0

    def fails(*arguments, **options):
        raise OSError("no luck")

    monkeypatch.setattr("tp1.sweeps.trials.run_trial", fails)
    failed = invoke(*GRID, "trials=2")
    assert failed.exit_code == 1
    assert "2 of 2 runs failed: cnn-base-t0 (OSError: no luck" in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing option '--experiment'"),
        (("experiment=cnnv3",), "Missing option '--space'"),
        (("experiment=cnnv9", "space=dropout=0.1..0.5"), "there is no experiment 'cnnv9': there are cnn-base,"),
        (("experiment=cnnv3-configs", "space=dropout=0.1..0.5"), "cnnv3-configs is a study of fixed configurations"),
        (("experiment=cnnv3-c2", "space=dropout=0.1..0.5"), "sweep its experiment cnnv3, with parameters such as"),
        (("experiment=cnnv3", "space=drop=0.1..0.5"), "there is no parameter 'drop': did you mean dropout?"),
        (("experiment=cnnv3", "space=dropout=0.1..0.5", "trials=0"), "0 is not in the range"),
        (("experiment=cnnv3", "space=dropout=0.1..0.5", "sampler=best"), "'best' is not one of"),
        (("experiment=cnnv3", "space=dropout=0.1..0.5", "pruner=soon"), "'soon' is not one of"),
        (("experiment=cnnv3", "space=dropout=0.1..0.5", "dropout=0.2"), "dropout=0.2 is fixed, and also in the space"),
        (("experiment=cnnv3", "space=dropout=0.1..0.5", "seeds=0,1"), "No such option '--seeds'"),
        (("experiment=cnnv3", "space=dropout=0.1..0.5", "sampler=grid"), "sampler=grid tries every value: list those"),
        (("experiment=cnnv3", "space=dropout=0.1|0.5", "trials=3"), "trials=3: the space has 2 points only"),
        (
            ("experiment=cnnv3", "space=batch_size=1..200,image_size=8..300", "sampler=grid"),
            f"the grid has 58600 points: give trials=, at most {MOST_TRIALS}",
        ),
        (("experiment=cnnv3", "space=batch_size=32|99999"), "batch_size=99999 is larger than the 1259 training images"),
        (("experiment=cnnv3", "space=image_size=16|64"), "image_size=16 is too small for CNNV3"),
        (("experiment=cnnv3", "space=dropout=0.1|0.5", "device=cuda:7"), "device=cuda:7 is not on this machine"),
        (("experiment=cnnv3", "space=dropout=0.1|0.5", "dataset=nothing"), "no data set 'nothing'"),
    ],
)
def test_a_mistake_is_named_before_a_trial_starts(store, arguments, message):
    result = invoke("sweep", *arguments, *(() if "dataset=nothing" in arguments else ("dataset=digits",)))
    assert result.exit_code != 0
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert message in result.stderr
    assert trials() == {}
    (run,) = all_runs()
    assert run.info.status == "FAILED"


def test_the_command_offers_what_there_is():
    options = {option.name: option for option in sweep_command(catalog()).params}
    assert options["sampler"].type.choices == SAMPLERS
    assert options["pruner"].type.choices == PRUNERS
    assert options["trials"].type.max == MOST_TRIALS
    assert f"[default: {TRIALS}," in options["trials"].help
