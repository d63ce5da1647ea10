"""Splits into parts are stratified, complete and the same for ever."""

import numpy as np
import pytest

from tp1.base.errors import TP1Error
from tp1.data.splits import split


def names_of(count: int, prefix: str = "") -> list[str]:
    return [f"{prefix}{number:05d}" for number in range(count)]


def test_digests_are_fixed_for_ever():
    """Split digests are how runs on different machines know that they compare: they must never change."""
    labels = np.repeat(np.arange(10), 100)
    assert split(names_of(1000), labels, None).digest == "0a2ef26048e5a1f9"
    is_test = np.arange(1000) % 4 == 0
    assert split(names_of(1000), labels, is_test).digest == "80a69ef952193e3f"


def test_parts_are_stratified_and_cover_everything_once():
    labels = np.repeat(np.arange(10), 100)
    parts = split(names_of(1000), labels, None)
    for part, per_class in ((parts.train, 70), (parts.val, 10), (parts.test, 20)):
        assert np.bincount(labels[part]).tolist() == [per_class] * 10
        assert (np.diff(part) > 0).all()
    assert sorted(np.concatenate([parts.train, parts.val, parts.test])) == list(range(1000))


def test_the_data_sets_own_test_images_stay_test():
    labels = np.repeat(np.arange(10), 60)
    is_test = np.tile(np.arange(60) >= 50, 10)
    parts = split(names_of(600), labels, is_test)
    assert parts.test.tolist() == np.flatnonzero(is_test).tolist()
    assert len(parts.val) == 50
    assert len(parts.train) == 450


def test_an_image_keeps_its_part_when_another_class_is_added():
    """What lies where depends on an image's class and name alone."""
    few = split(names_of(100, "a"), np.zeros(100, int), None)
    more = split(names_of(100, "a") + names_of(50, "b"), np.repeat([0, 1], [100, 50]), None)
    assert more.val[more.val < 100].tolist() == few.val.tolist()


def test_a_class_that_is_too_small_is_an_error():
    with pytest.raises(TP1Error, match="class number 1 has only 2 images"):
        split(names_of(12), np.repeat([0, 1], [10, 2]), None)
