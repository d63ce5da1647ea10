"""How near measured accuracies are to published ones: the mean difference, and the interval of 2 deviations."""

import pytest

from experiments import cnn_base, cnnv2, cnnv3, fusion
from tp1.report.comparison import Group
from tp1.report.nearness import is_within, mean_absolute_difference, printed_accuracies
from tp1.store.runs import TrackedRun


def group_of(module, *accuracies: float, **metrics: float) -> Group:
    """Runs of an experiment on its own data, with these accuracies on every part."""
    experiment = module.experiment
    runs = [
        TrackedRun(
            *(f"run{seed}", "0", experiment.name, "FINISHED", 0, 1),
            tags={"tp1.dataset": experiment.config.dataset, "tp1.seed": str(seed)},
            metrics={f"{part}/accuracy": value for part in ("train", "val", "test")} | metrics,
        )
        for seed, value in enumerate(accuracies)
    ]
    return Group(experiment.name, tuple(runs), experiment, is_default=True)


def test_the_mean_is_over_every_printed_accuracy():
    base, v2 = group_of(cnn_base, 0.60), group_of(cnnv2, 0.70, 0.80)  # 0.69, 0.616, 0.58; 0.9444, 0.7504
    difference, count = mean_absolute_difference([base, v2])
    assert count == 5
    assert difference == pytest.approx((0.09 + 0.016 + 0.02 + 0.1944 + 0.0004) / 5)


def test_what_has_no_published_figures_does_not_count():
    unknown = Group("mine", group_of(cnn_base, 0.6).runs, None, is_default=False)
    assert mean_absolute_difference([unknown]) is None
    assert mean_absolute_difference([]) is None


def test_printed_accuracies_are_counted():
    assert (
        printed_accuracies([("1.1", "cifar10"), cnn_base.experiment, cnnv2.experiment, cnnv3.experiment]) == 3 + 2 + 3
    )
    assert printed_accuracies([fusion.experiment]) == 1


@pytest.mark.parametrize(
    ("accuracies", "images", "answer"),
    [
        ((0.94, 0.95, 0.96), 0, None),  # not known how many images
        ((0.95,), 5400, True),
        ((0.945,), 5400, True),  # the binomial deviation of 0.945 of 5,400 images is 0.0031
        ((0.94,), 5400, None),  # the seeds' deviation would decide
        ((0.94, 0.94), 5400, False),
        ((0.935, 0.945), 5400, True),  # 0.94 ± 0.0071 of the seeds
        ((0.94, 0.94), 500, True),
    ],
)
def test_within_two_deviations_of_seeds_and_images(accuracies, images, answer):
    assert is_within(group_of(fusion, *accuracies), images) is answer  # published: 0.95


def test_validation_is_that_of_the_last_epoch():
    group = group_of(cnnv2, 0.7504, 0.7504, **{"best/val_accuracy": 0.80})
    assert is_within(group, 5000) is True
