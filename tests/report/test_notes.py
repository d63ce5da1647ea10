"""The description of a run: published figures stand beside measured ones, where there are any."""

from experiments.airnet import experiment as airnet
from experiments.cnnv3 import experiment as cnnv3
from tp1.report.notes import NOTED, describe_run

MEASURED = dict.fromkeys(NOTED, 0.5)


def test_published_figures_stand_beside_measured_ones():
    note = describe_run(cnnv3, cnnv3.config, "cifar10", "mlflow run . -e cnnv3", MEASURED, 3)
    assert "| | published | measured |\n|---|---|---|\n| test/accuracy | 0.8 | 0.5000 |" in note
    assert "the best validation epoch, 3 of 25; published at the last." in note


def test_what_nobody_has_published_has_no_column_for_it():
    for experiment, dataset in ((airnet, "cifar10"), (cnnv3, "digits")):
        note = describe_run(
            experiment, experiment.config.changed(dataset=dataset), dataset, "mlflow run .", MEASURED, 3
        )
        assert "| | measured |\n|---|---|\n| test/accuracy | 0.5000 |" in note
        assert "published" not in note
