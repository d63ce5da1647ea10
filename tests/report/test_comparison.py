"""Groups, statistics and remarks, from runs in a real store."""

from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.conftest import invoke
from tests.support.catalog import catalog
from tests.support.made_runs import experiment_of, make_run
from tp1.base.errors import TP1Error
from tp1.config import TrainConfig, differences, hyperparameters
from tp1.experiment import by_name_and_configuration
from tp1.report.comparison import RULE, Group, group, table
from tp1.report.comparison_page import comparison_page
from tp1.report.page import Picture
from tp1.report.selection import select, sort_groups
from tp1.store.reader import RunReader
from tp1.store.runs import READ_METRICS, TrackedRun


def groups(**options) -> list[Group]:
    return select(RunReader(), catalog(), **options).groups


def test_seeds_are_one_row_with_mean_and_deviation(store):
    for seed, accuracy in enumerate((0.7, 0.8, 0.9)):
        make_run("cnnv3", seed, accuracy=accuracy)
    (found,) = groups()
    assert (found.label, found.is_default, [run.seed for run in found.runs]) == ("cnnv3", True, [0, 1, 2])
    assert found.mean("test/accuracy") == pytest.approx(0.8)
    assert found.sd("test/accuracy") == pytest.approx(0.1)  # n - 1
    row = table([found]).iloc[0]
    assert (row["n"], row["seeds"], row["published"], row["published_metric"]) == (3, "0 1 2", 0.8, "test/accuracy")
    assert row["difference"] == pytest.approx(0.0)
    assert row["parameters"] == 1234


def test_a_published_validation_figure_is_compared_with_the_last_epoch(store):
    run_id = make_run("cnnv2", accuracy=0.74)
    MlflowClient().log_metric(run_id, "best/val_accuracy", 0.76, step=9)
    row = table(groups()).iloc[0]
    assert (row["published_metric"], row["published"], row["val_accuracy"]) == ("val/accuracy", 0.7504, 0.76)
    assert (row["measured"], row["difference"]) == (0.74, pytest.approx(0.74 - 0.7504))
    result = invoke("compare", "to=out")
    assert "Published validation figures are of the last epoch" in result.output
    assert "Published validation figures are of the last epoch" in Path("out/compare.md").read_text(encoding="utf-8")


def test_a_folder_of_the_same_name_is_not_the_reports_data(store):
    make_run("cnnv2")
    MlflowClient().set_tag(make_run("cnnv3", dataset="/elsewhere/cifar10"), "tp1.dataset", "cifar10")
    assert [(one.dataset, bool(one.published)) for one in groups()] == [("cifar10", True), ("cifar10", False)]
    assert list(table(groups())["dataset"]) == ["cifar10", "cifar10"]  # by its name, as in the other tables


def test_the_largest_seeds_are_seeds(store):
    for seed in (2**63 - 1, 10**18):
        make_run(seed=seed)
    selection = select(RunReader(), catalog())
    assert selection.complaint() is None
    assert [run.seed for run in selection.groups[0].runs] == [10**18, 2**63 - 1]


def test_one_seed_has_no_deviation(store):
    make_run()
    (found,) = groups()
    assert found.sd("test/accuracy") is None


def test_the_newest_of_each_seed_counts(store):
    old = make_run(accuracy=0.5, start=1_600_000_000_000)
    new = make_run(accuracy=0.9)
    (found,) = groups()
    assert [run.run_id for run in found.runs] == [new] != [old]


def test_other_parameters_data_or_splits_are_other_rows(store):
    make_run()
    make_run(learning_rate=0.01)
    make_run(split="another")
    make_run(dataset="digits")
    make_run("cnnv3-c2")
    found = groups()
    assert len(found) == 5
    labels = [one.label for one in found]
    assert labels.count("cnnv3") == 2
    assert {"cnnv3-c2", "cnnv3 (learning_rate=0.01)"} <= set(labels)
    assert [one.published for one in found if one.dataset == "digits"] == [{}]


def gone(rates=(0.1, 0.2), **digests) -> list[Group]:
    """Groups of an experiment that this code does not know, with a learning rate each."""
    runs = []
    for place, rate in enumerate(rates):
        tags = {"tp1.experiment": "gone", "tp1.dataset": "cifar10", "tp1.seed": "0"}
        tags |= {"tp1.data_digest": "data", "tp1.split_digest": "split"}
        tags |= {f"tp1.{name}": values[place] for name, values in digests.items()}
        metrics = dict.fromkeys(READ_METRICS, 0.5)
        params = {"learning_rate": str(rate), "dropout": "0.5"}
        runs.append(TrackedRun(f"r{place}", "0", "gone", "FINISHED", 0, 1, tags, params, metrics, 9, 32))
    return group(runs, by_name_and_configuration(catalog()))


def drawn(groups: list[Group]) -> list[str]:
    """Labels of the curves in the figure of the comparison."""
    history = {f"{part}/{name}": [0.5, 0.6] for part in ("train", "val") for name in ("loss", "accuracy")}
    page = comparison_page(groups, [[history]] * len(groups), {}, [])
    picture = next(block for section in page.sections for block in section.blocks if isinstance(block, Picture))
    return [text.get_text() for text in picture.figure.legends[0].get_texts()]


def test_configurations_of_an_experiment_that_is_gone_are_told_apart():
    labels = ["gone (learning_rate=0.1)", "gone (learning_rate=0.2)"]
    assert [one.label for one in gone()] == labels
    assert drawn(gone()) == [f"{label} (n=1)" for label in labels]
    assert [one.label for one in gone([0.1])] == ["gone"]


def test_each_group_has_its_curve_whatever_tells_it_apart():
    found = gone([0.1] * 3, data_digest=["a", "a", "b"], split_digest=["s", "t", "u"])
    assert drawn(found) == ["gone [a s] (n=1)", "gone [a t] (n=1)", "gone [b] (n=1)"]
    same = [replace(one, label="gone") for one in gone()]
    assert drawn(same) == ["gone (n=1)"] * 2


def test_a_number_is_the_same_however_it_was_spelled(store):
    make_run(learning_rate="1e-3")
    make_run(seed=1, learning_rate="'0.001'")  # quoted for the shell, as MLflow keeps it
    (found,) = groups()
    assert len(found.runs) == 2


def test_a_run_that_was_not_logged_whole_is_named_and_left_out(store):
    make_run(seed=1)
    broken = make_run(without=("test/accuracy",))
    selection = select(RunReader(), catalog())
    assert [run.seed for run in selection.groups[0].runs] == [1]
    assert broken in selection.complaint()
    assert "lacks test/accuracy" in selection.complaint()


def test_names_data_sets_and_times_narrow_the_choice(store):
    make_run("cnnv3")
    make_run("cnnv2", start=1_600_000_000_000)
    make_run("cnnv3-c1")
    make_run("cnnv3", dataset="digits")
    assert {one.label for one in groups(names=["cnnv3"])} == {"cnnv3", "cnnv3 (dataset=digits)"}
    assert {one.label for one in groups(names=["cnnv3-configs", "cnnv2"])} == {"cnnv3-c1", "cnnv2"}
    assert {one.dataset for one in groups(dataset="digits")} == {"digits"}
    assert "cnnv2" not in {one.label for one in groups(since=1_650_000_000_000)}


def test_order_is_the_reports_or_a_columns(store):
    for label, accuracy in (("cnnv3", 0.6), ("cnn-base", 0.7), ("cnnv3-c1", 0.5)):
        make_run(label, accuracy=accuracy)
    found = groups()
    assert [one.label for one in found] == ["cnn-base", "cnnv3", "cnnv3-c1"]
    assert [one.label for one in sort_groups(found, "test_accuracy")] == ["cnn-base", "cnnv3", "cnnv3-c1"]
    assert [one.label for one in sort_groups(found, "epoch_seconds")] == ["cnn-base", "cnnv3", "cnnv3-c1"]
    assert [one.label for one in sort_groups(found, "measured")] == ["cnn-base", "cnnv3", "cnnv3-c1"]
    with pytest.raises(TP1Error, match="no such column; it has experiment, configuration"):
        sort_groups(found, "beauty")


@pytest.mark.parametrize(
    ("train", "val", "loss", "best_loss", "best", "remark"),
    [
        (0.95, 0.80, 0.6, 0.6, 5, "overfitting"),
        (0.80, 0.80, 0.9, 0.6, 5, "overfitting"),  # the loss rises, the accuracy does not fall
        (0.86, 0.80, 0.6, 0.6, 5, "slight overfitting"),
        (0.80, 0.80, 0.67, 0.6, 5, "slight overfitting"),
        (0.82, 0.80, 0.6, 0.6, 20, "balanced"),
        (0.78, 0.80, 0.6, 0.6, 10, "balanced"),  # below, but no longer getting better
        (0.78, 0.80, 0.6, 0.6, 20, "underfitting"),
        (0.70, 0.80, 0.6, 0.6, 20, "strong underfitting"),
    ],
)
def test_remarks_follow_the_rule(train, val, loss, best_loss, best, remark):
    metrics = {"train/accuracy": train, "val/accuracy": val, "val/loss": loss, "best/val_loss": best_loss}
    run = TrackedRun(
        *("id", "0", "name", "FINISHED", 0, 1),
        tags={"tp1.experiment": "cnnv3", "tp1.dataset": "cifar10", "tp1.seed": "0"},
        params={"epochs": "20"},
        metrics=metrics | {"best/epoch": best},
        train_images=10,
    )
    assert Group("cnnv3", (run,), None, is_default=True).remark() == remark
    assert remark in RULE


def test_hyperparameters_leave_out_what_is_no_choice():
    values = hyperparameters({"seed": "3", "device": "cpu", "epochs": "5", "weights": "'~/a b.pth'"})
    assert "seed" not in values
    assert "device" not in values
    assert (values["epochs"], values["weights"]) == (5, "~/a b.pth")
    assert values["augment"] == "none"  # not tracked: what is now the default


def test_same_configuration_whatever_the_seed():
    config = experiment_of("cnnv3").config
    params = {"dataset": "cifar10", "dropout": "0.5", "weight_decay": "1e-4", "image_size": "32", "seed": "9"}
    assert not differences(config, params)
    assert differences(config, params | {"epochs": "3"}) == {"epochs": 3}
    assert differences(TrainConfig(image_size=64), {"image_size": "32"}) == {"image_size": 32}
    assert differences(TrainConfig(), {"image_size": "64"}, image_side=32) == {"image_size": 64}
    assert not differences(TrainConfig(), {"image_size": "32"}, image_side=32)
