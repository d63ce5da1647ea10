"""What does not fit in memory is read from disk in pieces: the same images, whatever is asked for."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.generated_cases import quick
from tp1.base.errors import TP1Error
from tp1.data import stored
from tp1.data.dataset import load_data
from tp1.data.image_digests import image_digests
from tp1.data.stored import RowFile, Stored
from tp1.tracking.datasets import dataset_inputs

WHOLE = np.random.default_rng(0).integers(0, 256, (300, 5, 4, 3), dtype=np.uint8)


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "SPAN", 500)
    monkeypatch.setattr(stored, "GAP", 130)
    WHOLE.tofile(tmp_path / "rows.bin")
    return RowFile(tmp_path / "rows.bin", WHOLE.shape, WHOLE.dtype)


def test_rows_come_in_the_order_asked_for(file):
    @quick(100)
    @given(st.lists(st.integers(0, 299), max_size=80))
    def check(rows):
        chosen = np.array(rows, np.int64)
        assert np.array_equal(file.read(chosen), WHOLE[chosen])

    check()
    assert np.array_equal(file.read(np.arange(300)), WHOLE)


def test_a_part_is_as_an_array(file):
    rows = np.arange(1, 300, 3)
    part = Stored(rows, WHOLE.shape[1:], WHOLE.dtype, file.read, beyond_memory=True)
    array = WHOLE[rows]
    assert (len(part), part.shape, part.nbytes) == (100, array.shape, array.nbytes)
    mask = array[:, 0, 0, 0] > 128
    for chosen in (slice(3, 17), np.array([5, 2, 2]), mask):
        assert np.array_equal(part[chosen], array[chosen])
    assert np.array_equal(part.taken(mask)[:], array[mask])
    assert np.array_equal(np.stack([*part]), array)


@pytest.mark.parametrize("rows", [299, 301])
def test_a_file_of_another_size_is_an_error(file, tmp_path, rows):
    with pytest.raises(TP1Error, match=r"rows\.bin has changed its size while it is read"):
        RowFile(tmp_path / "rows.bin", (rows, *WHOLE.shape[1:]), WHOLE.dtype)


def test_a_file_that_shrinks_is_an_error_and_does_not_kill_the_process(file, tmp_path):
    os.truncate(tmp_path / "rows.bin", 1000)
    with pytest.raises(TP1Error, match=r"rows\.bin has become shorter while it is read"):
        file.read(np.array([3, 200]))


@pytest.mark.parametrize("cached", [False, True])
def test_images_that_do_not_fit_are_read_from_disk(tiny_eurosat, cached, monkeypatch):
    if cached:
        load_data("eurosat", tiny_eurosat)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=1_000_000))
    there = load_data("eurosat", tiny_eurosat)
    monkeypatch.undo()
    here = load_data("eurosat", tiny_eurosat)
    assert (there.mean, there.std) == (here.mean, here.std)
    for one, other in ((there.train, here.train), (there.val, here.val), (there.test, here.test)):
        assert isinstance(one.images, Stored)
        assert one.images.beyond_memory
        assert isinstance(other.images, np.ndarray)
        assert np.array_equal(one.images[:], other.images)
        assert np.array_equal(image_digests(one.images), image_digests(other.images))
    for part, found in dataset_inputs(there).items():
        assert found.dataset == dataset_inputs(here)[part].dataset


def test_processes_of_one_machine_share_the_file(tiny_eurosat, monkeypatch):
    needed = load_data("eurosat", tiny_eurosat).pixels.nbytes
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=4 * needed))
    assert isinstance(load_data("eurosat", tiny_eurosat).train.images, np.ndarray)
    for name, value in {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")
    images = load_data("eurosat", tiny_eurosat).train.images
    assert isinstance(images, Stored)
    assert not images.beyond_memory  # so that any order will do, as with one process
