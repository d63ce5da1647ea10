"""The command line: what users type, and what they see when it is wrong."""

import json
import os
import re
import shutil
import traceback
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from tests.conftest import all_runs, invoke, write_folder

QUICK = ("epochs=1", "batch_size=16")


def error_of(run) -> str:
    return mlflow.artifacts.load_text(f"{run.info.artifact_uri}/error.txt")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lerning_rate=1"], "No such option '--lerning-rate'. Did you mean '--learning-rate'?"),
        (["epochs=many"], "'many' is not a valid integer"),
        (["learning_rate=-1"], "learning_rate=-1.0 is out of range: it must be a number above 0."),
        (["epochs=0"], "epochs=0 is out of range: it must be a whole number, 1 or more."),
        (["dropout=1.5"], "dropout=1.5 is out of range: it must be a number from 0 up to, but not, 1."),
        (["learning_rate=nan"], "learning_rate=nan is out of range"),
        (["batch_size=100000"], "batch_size=100000 is larger than the 42 training images."),
        (["dataset=nothing"], "no data set 'nothing'"),
        (["device=cuda:7"], "device=cuda:7 is not on this machine"),
        (["device=gpu"], "device=gpu is not known"),
        (["image_size=16"], "image_size=16 is too small for CNNV3"),
        (["learning_rate=1e30"], "the training loss became"),
        (["stray"], "Got unexpected extra argument (stray)"),
    ],
)
def test_bad_input_is_one_line_an_exit_code_and_a_failed_run(store, image_folder, arguments, message):
    result = invoke("cnnv3", f"dataset={image_folder}", *QUICK, *arguments)
    assert result.exit_code != 0
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert message in result.stderr
    (run,) = all_runs()
    assert run.info.status == "FAILED"
    assert run.data.tags["tp1.experiment"] == "cnnv3"
    assert message in error_of(run)
    assert not run.outputs.model_outputs


@pytest.mark.parametrize("fault", ["truncated image", "empty class", "test classes differ", "no space"])
def test_bad_data_is_one_line_and_a_failed_run(store, tmp_path, fault, monkeypatch):
    root = tmp_path / "pictures"
    write_folder(root / "train", per_class=12)
    write_folder(root / "test", per_class=4)
    if fault == "truncated image":
        os.truncate(root / "train" / "b" / "003.png", 700)
        message = "train/b/003.png"
    elif fault == "empty class":
        shutil.rmtree(root / "train" / "b")
        (root / "train" / "b").mkdir()
        message = "has no images"
    elif fault == "test classes differ":
        (root / "test" / "c").rename(root / "test" / "d")
        message = "different classes: test/ lacks ['c'] and train/ lacks ['d']"
    else:
        (tmp_path / "blocked").write_text("")
        monkeypatch.setenv("TP1_CACHE_DIR", str(tmp_path / "blocked"))
        message = "cannot write to the cache"
    result = invoke("cnn-base", f"dataset={root}", *QUICK)
    assert result.exit_code != 0
    assert message in result.stderr
    (run,) = all_runs()
    assert run.info.status == "FAILED"
    assert message in error_of(run)


def test_an_unreachable_server_is_one_line():
    result = invoke("cnn-base", "dataset=digits")  # the tests' default server is not there
    assert result.exit_code != 0
    assert result.stderr.startswith("Error: the tracking server at http://127.0.0.1:9 does not answer")
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "spelling",
    [
        ["--learning-rate", "-0.01"],
        ["--learning_rate", "-0.01"],
        ["--learning_rate=-0.01"],
        ["learning_rate=-0.01"],
        ["learning-rate=-0.01"],
    ],
)
def test_parameters_are_spelled_with_either_dash(store, spelling):
    result = invoke("cnn-base", "dataset=digits", *QUICK, *spelling)
    assert result.exit_code == 1
    assert "learning_rate=-0.01 is out of range" in result.stderr


def test_a_value_that_looks_like_a_parameter_stays_a_value(store):
    assert "no data set 'date=2024'" in invoke("cnn-base", "--dataset", "date=2024").stderr


def test_eda_checks_its_parameters_too(store):
    assert "seed=-1 is out of range" in invoke("eda", "dataset=digits", "seed=-1").stderr


def test_an_interrupted_run_is_killed_not_failed(store, monkeypatch):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("tp1.preparation.load_data", interrupt)
    assert invoke("cnn-base", "dataset=digits").exit_code == 130
    (run,) = all_runs()
    assert run.info.status == "KILLED"


def test_an_export_does_not_write_over_another_run(store, image_folder):
    for epochs in (1, 2):
        assert invoke("cnn-base", f"dataset={image_folder}", f"epochs={epochs}", "batch_size=16").exit_code == 0
    newer, older = (run.info.run_id for run in all_runs())
    assert invoke("export", older, "--to", "kept").exit_code == 0
    assert invoke("export", older, "--to", "kept").exit_code == 0
    refused = invoke("export", newer, "--to", "kept")
    assert refused.exit_code != 0
    assert f"holds run {older}" in refused.stderr
    model = ("--with-model", "--data-dir", str(image_folder.parent))
    assert invoke("export", newer, "--to", "kept", "--replace", *model).exit_code == 0
    (weights,) = Path("kept").rglob("weights.safetensors")
    content = weights.read_bytes()
    assert invoke("export", newer, "--to", "kept").exit_code == 0
    assert weights.read_bytes() == content  # the same run's model stays
    assert invoke("export", older, "--to", "kept", "--replace").exit_code == 0
    assert not weights.exists()


def test_a_parameter_after_a_flag_is_one(store, image_folder, tmp_path):
    """``to=kept`` was taken for a run id."""
    assert invoke("cnn-base", f"dataset={image_folder}", *QUICK).exit_code == 0
    run_id = all_runs()[0].info.run_id
    for spelling in (("--replace", "to=kept"), ("to=kept", "--replace"), ("--replace", "--to", "kept")):
        result = invoke("export", *spelling, run_id)
        assert result.exit_code == 0, result.output
        shutil.rmtree(tmp_path / "kept")
    assert not (tmp_path / "reference").exists()


def test_verbose_shows_the_traceback(store):
    result = invoke("cnn-base", "dataset=nothing", "--verbose")
    assert result.exit_code != 0
    assert "find_source" in "".join(traceback.format_exception(result.exception))


def test_help_names_every_parameter_with_its_default(store):
    text = invoke("cnnv3", "--help").output
    for name in ("seed", "epochs", "batch-size", "learning-rate", "dropout", "weight-decay", "augment", "dataset"):
        assert f"--{name} " in text
    assert "[default: 0.5]" in text
    assert not all_runs()


def test_help_lists_each_command_once_with_its_whole_sentence(store):
    from experiments.__main__ import main
    from tp1.commands.group import RESERVED, SECTIONS

    assert sorted(name for names in SECTIONS.values() for name in names) == sorted(RESERVED)
    text = invoke("--help").output
    listed = re.findall(r"^  ([a-z0-9-]+) ", text.split("\nTrain:\n")[1], re.MULTILINE)
    assert sorted(listed) == sorted(main.commands)
    assert "..." not in text.replace("[ARGS]...", "")


def test_eda_logs_figures_and_statistics(store, image_folder):
    result = invoke("eda", f"dataset={image_folder}")
    assert result.exit_code == 0, result.output
    (run,) = all_runs()
    assert run.info.run_name == "eda-shapes"
    names = {item.path for item in MlflowClient().list_artifacts(run.info.run_id)}
    assert names == {"samples.png", "class_distribution.png", "class_distribution.csv", "channels.csv", "files.csv"}
    rows = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/class_distribution.csv").splitlines()
    assert rows[:2] == ["class,train,validation,test", "a,14,2,4"]


def test_export_and_import_keep_everything_but_the_model(store, image_folder, tmp_path, monkeypatch, empty_database):
    assert invoke("cnnv3", f"dataset={image_folder}", "epochs=2", "batch_size=16").exit_code == 0
    (original,) = all_runs()
    exported = invoke("export", original.info.run_id, "--to", "kept")
    assert exported.exit_code == 0, exported.output
    folder = tmp_path / "kept" / "shapes" / "cnnv3-s0"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 100_000
    assert not any(path.suffix in (".pt2", ".safetensors", ".png") for path in folder.iterdir())
    history = {name: MlflowClient().get_metric_history(original.info.run_id, name) for name in original.data.metrics}

    again = invoke("import", "kept")  # the run itself is there
    assert "0 new reference runs" in again.output

    (tmp_path / "other").mkdir()
    shutil.copy(empty_database, tmp_path / "other" / "mlflow.db")
    monkeypatch.chdir(tmp_path / "other")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'other' / 'mlflow.db'}")
    for new in (1, 0):
        result = invoke("import", str(tmp_path / "kept"))
        assert result.exit_code == 0, result.output
        assert f"{new} new reference runs" in result.output
    (copy,) = all_runs()
    assert copy.data.tags["tp1.reference"] == original.info.run_id
    assert copy.data.tags["mlflow.user"] == "reference"
    assert copy.info.run_name == original.info.run_name
    assert (copy.info.start_time, copy.info.end_time) == (original.info.start_time, original.info.end_time)
    assert copy.info.status == "FINISHED"
    assert copy.data.params == original.data.params
    for name, points in history.items():
        found = MlflowClient().get_metric_history(copy.info.run_id, name)
        assert [(p.step, p.timestamp, p.value) for p in found] == [(p.step, p.timestamp, p.value) for p in points]
    assert [(d.dataset.name, d.dataset.digest) for d in copy.inputs.dataset_inputs] == [
        (d.dataset.name, d.dataset.digest) for d in original.inputs.dataset_inputs
    ]
    names = {item.path for item in MlflowClient().list_artifacts(copy.info.run_id)}
    assert {"predictions.parquet", "curves.png", "confusion_matrix.png", "classification_report.json"} <= names


def test_a_look_at_data_is_kept_too(store, image_folder, tmp_path, monkeypatch, empty_database):
    assert invoke("eda", f"dataset={image_folder}").exit_code == 0
    assert invoke("export", all_runs()[0].info.run_id, "--to", "kept").exit_code == 0
    (tmp_path / "other").mkdir()
    shutil.copy(empty_database, tmp_path / "other" / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'other' / 'mlflow.db'}")
    assert "1 new reference runs" in invoke("import", "kept").output
    (copy,) = all_runs()
    names = {item.path for item in MlflowClient().list_artifacts(copy.info.run_id)}
    assert names == {"samples.png", "class_distribution.png", "class_distribution.csv", "channels.csv"}


def test_a_record_that_is_damaged_is_named_and_nothing_is_half_loaded(store, image_folder, tmp_path):
    assert invoke("cnn-base", f"dataset={image_folder}", *QUICK).exit_code == 0
    assert invoke("export", all_runs()[0].info.run_id, "--to", "kept").exit_code == 0
    record = tmp_path / "kept" / "shapes" / "cnn-base-s0" / "run.json"
    record.write_text(record.read_text()[:-50])
    result = invoke("import", "kept")
    assert result.exit_code != 0
    assert "cannot read the record" in result.stderr
    assert len(all_runs()) == 1


def test_only_finished_training_runs_are_exported(store, tmp_path):
    invoke("cnn-base", "epochs=0")
    result = invoke("export", all_runs()[0].info.run_id)
    assert "is FAILED and cannot be kept" in result.stderr
    assert "no run deadbeef" in invoke("export", "deadbeef").stderr
    assert not (tmp_path / "reference").exists()


def test_config_json_says_what_ran(store, image_folder):
    assert invoke("cnnv3", f"dataset={image_folder}", *QUICK, "seed=3").exit_code == 0
    (run,) = all_runs()
    record = json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/config.json"))
    assert record["config"]["seed"] == 3
    assert record["config"]["device"] in ("cpu", "cuda", "mps")
    assert record["command"].startswith("mlflow run . -e cnnv3 -P dataset=")


def test_a_command_without_a_run_points_to_no_file_of_one(store, monkeypatch):
    def fail(*args: object) -> None:
        raise ValueError("odd")

    monkeypatch.setattr("tp1.commands.cache.entries", fail)
    assert "ValueError: odd (the whole story: --verbose)" in invoke("cache").stderr
    monkeypatch.setattr("tp1.commands.compare.select", fail)
    result = invoke("compare")
    assert "ValueError: odd (the whole story: --verbose, or error.txt of the run)" in result.stderr
    assert "ValueError: odd" in error_of(all_runs()[0])
