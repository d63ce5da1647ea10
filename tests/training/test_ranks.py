"""Several processes compute the training that one computes."""

import dataclasses

import pytest
import torch

from tests.support.ranks import CONFIG, Case, compute, images, result, trained
from tp1.training.orders import Blockwise
from tp1.training.ranks import LEAST, Ranks

CASES = [
    Case("plain", CONFIG),  # 100 images: the last batch has 4
    Case("last batch of 2", CONFIG, per_class=34),
    Case("last batch of 3", CONFIG.changed(optimizer="sgd", learning_rate=0.05), per_class=29),
    Case("last batch of 17", CONFIG, per_class=39),
    Case("augmented", CONFIG.changed(augment="flip-crop")),
    Case("weights", CONFIG.changed(class_weights="balanced", label_smoothing=0.1, averaging=0.9, schedule="cosine")),
    Case("muon", CONFIG.changed(optimizer="muon"), tolerance=20.0),  # it computes in bfloat16, which rounds more
    Case("in blocks", CONFIG, blockwise=Blockwise(4, 32)),
]
STOPPED = Case("stopped", CONFIG.changed(augment="flip-crop"), stop_after=5)  # of 7 steps an epoch
DROPOUT = Case("dropout", CONFIG, dropout=0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def of_two(folder):
    """What two processes find, by the name of the case. The ones that stop go on in the second call."""
    alone = dataclasses.replace(STOPPED, name="begun alone")
    trained(alone, folder)
    dropout = dataclasses.replace(DROPOUT, name="dropout stopped")
    cases = [
        *CASES,
        STOPPED,
        dataclasses.replace(alone, stop_after=None),
        DROPOUT,
        dataclasses.replace(dropout, stop_after=5),
        dropout,
    ]
    return dict(zip([*(case.name for case in cases[:-1]), "resumed"], compute(cases, folder, 2), strict=True))


def close(one: dict, other: dict, tolerance: float = 1.0) -> None:
    histories = torch.tensor(one["history"]), torch.tensor(other["history"])
    torch.testing.assert_close(*histories, rtol=1e-4 * tolerance, atol=1e-5)
    torch.testing.assert_close(one["state"], other["state"], rtol=1e-3 * tolerance, atol=1e-4 * tolerance)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_two_processes_give_the_loss_curve_of_one(of_two, tmp_path, case):
    first, second = of_two[case.name]
    assert first["history"] == second["history"]
    assert all(torch.equal(first["state"][name], second["state"][name]) for name in first["state"])
    close(first, result(trained(case, tmp_path)), case.tolerance)


def test_a_training_goes_on_with_another_number_of_processes(of_two, folder, tmp_path):
    whole = result(trained(dataclasses.replace(STOPPED, stop_after=None), tmp_path))
    assert of_two["stopped"][0]["step"] == 5
    close(result(trained(dataclasses.replace(STOPPED, stop_after=None), folder)), whole)  # begun by two
    close(of_two["begun alone"][0], whole)


def test_dropout_of_two_processes_goes_on_with_the_same_bits(of_two):
    assert of_two["dropout stopped"][0]["step"] == 5
    histories = [torch.tensor(of_two[name][0]["history"]) for name in ("resumed", "dropout")]
    torch.testing.assert_close(*histories, rtol=1e-6, atol=0)  # the sums of the losses are rounded where it stopped
    whole, resumed = of_two["dropout"][0]["state"], of_two["resumed"][0]["state"]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.long
def test_three_processes_too(tmp_path):
    """Of a batch of two, the third has nothing."""
    for case, found in zip(CASES, compute(CASES, tmp_path, 3), strict=True):
        (tmp_path / "alone").mkdir(exist_ok=True)
        close(found[2], result(trained(case, tmp_path / "alone")), case.tolerance)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 65])
def test_a_batch_is_cut_without_repeats_and_no_share_is_too_small(size, count):
    rows = torch.randperm(size)
    own = [rows[list(Ranks(number, count).share(size))] for number in range(count)]
    assert torch.equal(torch.cat(own), rows)
    for number, share in enumerate(own):
        cut = Ranks(number, count).cut(rows)
        assert torch.equal(cut[: len(share)], share)
        assert len(cut) >= min(size, LEAST)
        assert set(cut.tolist()) <= set(rows.tolist())
        assert len(set(cut.tolist())) == len(cut) or size < LEAST


def test_the_cases_have_the_batches_that_they_are_for():
    assert [len(images(case)) % 16 for case in CASES[:4]] == [4, 2, 3, 1]
