"""`mlflow run .`: the whole report on tiny data, from nothing to the page."""

from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from PIL import Image

from tests.conftest import EUROSAT_CLASSES, all_runs, coloured_images, invoke, write_folder
from tests.support.made_runs import experiment_of, make_run
from tests.support.project_runs import mlflow_run
from tp1.base.errors import TP1Error
from tp1.sweeps.parents import log_results
from tp1.tracking.tool_run import tool_run


@pytest.fixture(scope="module")
def tiny_data(tmp_path_factory) -> Path:
    """Image folders in the place of CIFAR-10 and EuroSAT."""
    data = tmp_path_factory.mktemp("data")
    write_folder(data / "cifar10" / "train", per_class=40)
    write_folder(data / "cifar10" / "test", per_class=4)
    for label, name in enumerate(EUROSAT_CLASSES):
        folder = data / "eurosat" / "2750" / name
        folder.mkdir(parents=True)
        for number, image in enumerate(coloured_images(label, 10, 64, seed=3), start=1):
            Image.fromarray(np.asarray(image)).save(folder / f"{name}_{number}.jpg")
    return data


@pytest.mark.long
def test_mlflow_run_without_an_entry_point_runs_the_report(tmp_path, tiny_data, monkeypatch):
    monkeypatch.setenv("TP1_DATA_DIR", str(tiny_data))
    result, runs = mlflow_run(tmp_path, "-P", "only=cnn-base,eda", "-P", "to=page")
    assert result.returncode == 0, result.stderr
    by_name = {run.info.run_name: run for run in runs}
    assert set(by_name) == {"main", "eda-cifar10", "cnn-base-s0", "eda-eurosat"}
    parent = by_name.pop("main").info.run_id
    assert {run.data.tags["mlflow.parentRunId"] for run in by_name.values()} == {parent}
    assert "3 runs, 0 of them finished already; expected time about 4 min." in result.stdout
    assert "cnn-base-s0: 2 of 3; time left about" in result.stdout
    html = (tmp_path / "page" / "report.html").read_text()
    assert "mlflow run . -e cnnv2" in html
    assert html.count("<figure>\n<img") == 2


def test_what_is_finished_is_skipped_and_a_failure_comes_last(store, tiny_data, monkeypatch):
    import tp1.run

    monkeypatch.setenv("TP1_DATA_DIR", str(tiny_data))
    assert invoke("cnn-base").exit_code == 0
    real = tp1.run.train

    def faulty(state, train_part, val_part, config, *rest):
        if config.dropout == 0.4:  # cnnv2
            raise TP1Error("no luck.")
        real(state, train_part, val_part, config, *rest)

    monkeypatch.setattr(tp1.run, "train", faulty)
    result = invoke("main", "only=cnn-base,cnnv2", "seeds=0,1", "to=page")
    assert result.exit_code == 1
    assert "4 runs, 1 of them finished already" in result.output
    assert "2 of 4 runs failed: cnnv2-s0 (no luck.); cnnv2-s1 (no luck.)" in result.stderr
    names = [run.info.run_name for run in all_runs() if run.info.status == "FINISHED"]
    assert sorted(names) == ["cnn-base-s0", "cnn-base-s1"]
    assert "n = 2" in Path("page/RESULTS.md").read_text(encoding="utf-8")
    by_name = {run.info.run_name: run for run in all_runs()}
    parent, seeds = by_name["main"], [by_name[f"cnn-base-s{seed}"].data.metrics["test/accuracy"] for seed in (0, 1)]
    metrics = parent.data.metrics
    assert metrics["mean/test/accuracy/cnn-base"] == pytest.approx(fmean(seeds))
    assert metrics["sd/test/accuracy/cnn-base"] == pytest.approx(stdev(seeds))
    assert metrics["n/cnn-base"] == 2
    assert not any("cnnv2" in name for name in metrics)
    table = MlflowClient().download_artifacts(parent.info.run_id, "results.json")
    (row,) = pd.read_json(table, orient="split").to_dict("records")
    assert row["experiment"].startswith("cnn-base")
    assert str(row["test"]) == f"{fmean(seeds):.4f} ± {stdev(seeds):.4f}"


@pytest.mark.long
def test_the_report_is_written_although_a_run_is_left_out(store, tiny_data, monkeypatch):
    monkeypatch.setenv("TP1_DATA_DIR", str(tiny_data))
    make_run("cnnv3")
    broken = make_run("fusion", without=("test/f1_macro",))
    result = invoke("main", "only=eda", "to=page")
    assert result.exit_code == 1
    assert result.stderr.count(f"fusion-s0 ({broken}) lacks test/f1_macro") == 1
    assert "cnnv3" in Path("page/RESULTS.md").read_text(encoding="utf-8")


def test_seeds_on_different_data_have_no_mean(store):
    """Which of them is meant cannot be known, if the data are not at hand."""
    ids = [make_run("cnnv3", seed, split="one" if seed else "another") for seed in (0, 1, 2)]
    with tool_run("seeds", "tp1 cnnv3 seeds=0,1,2") as parent:
        log_results(parent, [*ids, make_run("cnnv2")], [experiment_of("cnnv3"), experiment_of("cnnv2")])
    found = MlflowClient().get_run(parent.info.run_id).data.metrics
    assert found["n/cnnv2"] == 1
    assert not any("cnnv3" in name for name in found)
    rows = pd.read_json(MlflowClient().download_artifacts(parent.info.run_id, "results.json"), orient="split")
    assert sorted(rows["experiment"]) == ["cnnv2", "cnnv3 [another]", "cnnv3 [one]"]


def test_names_that_are_none_are_refused(store):
    result = invoke("main", "only=cnnv33")
    assert "'cnnv33' is not known. Did you mean cnnv3?" in result.stderr


def test_an_experiment_beyond_the_report_runs_only_if_it_is_named(store, tiny_data, monkeypatch):
    planned: list[str] = []

    def plan(jobs, *rest):
        planned[:] = [job.name for job in jobs]
        raise TP1Error("enough.")

    monkeypatch.setenv("TP1_DATA_DIR", str(tiny_data))
    monkeypatch.setattr("tp1.commands.main.run_all", plan)
    assert "enough." in invoke("main").stderr
    assert {"eda-cifar10", "cnnv3-s0", "fusion-s0"} <= set(planned)
    assert not {"airnet-s0", "landnet-s0"} & set(planned)
    assert "enough." in invoke("main", "only=airnet").stderr
    assert planned == ["airnet-s0"]
    planned.clear()
    Path("blocked").write_text("", encoding="utf-8")
    assert "cannot write to blocked/page" in invoke("main", "to=blocked/page").stderr
    assert not planned
