"""The card of a run's model, from the record of a real run."""

import json
from dataclasses import replace

import pytest

from tests.conftest import PROJECT
from tests.support.made_runs import experiment_of
from tp1.commands.reference import read_record
from tp1.report.model_card import OTHER_CLASSES, Speed, model_card, shortened

SHAPE = (32, 32, 3)


@pytest.fixture(scope="module")
def record():
    return read_record(PROJECT / "reference" / "cifar10" / "cnnv3-s0")


def test_published_stands_beside_measured(record):
    card = model_card(
        "tp1-cifar10 version 1", record, experiment_of("cnnv3"), SHAPE, 6_400_000, Speed(6.5, 1592, 64, "CPU")
    )
    assert "# tp1-cifar10 version 1: cnnv3, seed 0\n" in card
    assert "| validation accuracy (5,000 images) | – | 0.8114 |\n" in card
    assert f"| the same after the last epoch | 0.8000 | {record.metrics['val/accuracy'][-1][2]:.4f} |\n" in card
    assert "| test accuracy (10,000 images) | 0.8000 | 0.8040 |\n" in card
    assert "| cat | 0.6400 | 0." in card
    assert "model.pt2 6.4 MB. One image 6.5 ms (median), 1,592 images/s in batches of 64, on CPU." in card
    assert "## Promotion" not in card
    assert len(card) < 5000


def test_an_unknown_experiment_has_nothing_published(record):
    config = json.loads(record.files["config.json"]) | {"published": {}}
    unknown = replace(record, files=record.files | {"config.json": json.dumps(config).encode()})
    card = model_card("m-1", unknown, None, SHAPE, 1, promotion="It is the first champion.")
    assert "published" not in card
    assert "| test accuracy (10,000 images) | 0.8040 |\n" in card
    assert card.endswith("## Promotion\n\nIt is the first champion.\n")


@pytest.mark.parametrize("more", ["", f"{OTHER_CLASSES}\n\n"])
def test_a_long_card_has_fewer_classes_and_all_else(more):
    head = "# m\n\n### By class\n\n| class | F1 |\n| --- | --- |"
    rows = [f"| {'a' * 30}{number} | 0.5 |" for number in range(10, 30)]
    rest = "## Training\n\nLong.\n\n## Promotion\n\nYes.\n"
    card = "\n".join([head, *rows]) + f"\n\n{more}{rest}"
    assert shortened(card, len(card)) == card
    few = shortened(card, 600)
    kept = sum(row in few for row in rows)
    assert 0 < kept < 20
    assert few == "\n".join([head, *rows[:kept]]) + f"\n\n{OTHER_CLASSES}\n\n{rest}"
    assert len(few) <= 600 < len(few) + len(rows[0]) + 1
    assert shortened(few, 100) == f"{head}\n\n{OTHER_CLASSES}\n\n{rest}"
    assert shortened("a line\n" * 100, 100) == "a line\n" * 100
