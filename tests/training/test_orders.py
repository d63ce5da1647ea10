"""Images that memory does not hold are trained on from disk, in an order that a disk bears."""

import numpy as np
import psutil
import torch

from tests.conftest import all_runs, invoke
from tests.support.made_training import CONFIG, part
from tests.training.test_checkpoints import begin, go, same
from tp1.data.dataset import Part
from tp1.data.stored import RowFile, Stored
from tp1.training import inference
from tp1.training.batches import read_ahead
from tp1.training.checkpoints import Checkpoints
from tp1.training.loop import Hooks, train
from tp1.training.orders import WINDOW, Blockwise, draw_order, order_for


def stored(of: Part, folder, beyond_memory=True) -> Part:
    of.images.tofile(folder / f"{len(of)}.bin")
    file = RowFile(folder / f"{len(of)}.bin", of.images.shape, of.images.dtype)
    images = Stored(np.arange(len(of)), of.images.shape[1:], of.images.dtype, file.read, beyond_memory)
    return Part(of.index, images, of.labels)


def test_an_epoch_takes_each_image_once_and_reads_blocks_at_once():
    order = Blockwise(block=8, window=256).order(5000, torch.Generator().manual_seed(1))
    assert sorted(order.tolist()) == list(range(5000))
    for window in order.split(256):
        assert len(np.unique(window.numpy() // 8)) <= 256 / 8 + 2  # two blocks may be cut by its ends
    first = order[:256].double()
    assert first.std() > 1000  # from everywhere
    assert (first.diff().abs() <= 1).float().mean() < 0.05  # and mixed


def test_the_order_is_the_seeds_alone():
    one, other, third = (torch.Generator().manual_seed(seed) for seed in (1, 1, 2))
    blockwise = Blockwise(4, 64)
    first = blockwise.order(999, one)
    assert torch.equal(first, blockwise.order(999, other))
    assert not torch.equal(first, blockwise.order(999, third))
    assert not torch.equal(first, blockwise.order(999, one))  # the next epoch's
    one.manual_seed(3), other.manual_seed(3)
    assert torch.equal(draw_order(None, 99, one), torch.randperm(99, generator=other))  # as it ever was


def test_a_class_is_spread_over_all_batches():
    """As the files lie: class by class."""
    labels = torch.arange(100_000) // 10_000
    images = Stored(np.arange(100_000), (32, 32, 3), np.dtype(np.uint8), lambda rows: rows, True)
    blockwise = order_for(images, 64)
    order = blockwise.order(100_000, torch.Generator().manual_seed(0))
    shares = torch.stack([torch.bincount(labels[rows], minlength=10) / len(rows) for rows in order.split(64)])
    in_any_order = torch.stack(
        [torch.bincount(labels[rows], minlength=10) / len(rows) for rows in torch.randperm(100_000).split(64)]
    )
    assert shares.std() < 1.2 * in_any_order.std()


def test_windows_are_bounded_and_depend_on_the_data_alone():
    read = {"dtype": np.dtype(np.uint8), "read": lambda rows: rows}
    large = Stored(np.zeros(2_000_000, np.int64), (224, 224, 3), beyond_memory=True, **read)
    order = order_for(large, 64)
    assert order.window % 64 == 0
    assert 0.8 * WINDOW < order.window * 224 * 224 * 3 <= WINDOW
    assert order.block == 1
    assert order_for(Stored(large.rows, large.row_shape, beyond_memory=False, **read), 64) is None
    assert order_for(np.zeros((4, 8, 8, 3), np.uint8), 64) is None


def test_batches_that_are_read_together_are_those_of_a_window():
    order = Blockwise(block=2, window=64)
    assert order.read_at_once(16, 0, 10) == [4, 4, 2]
    assert order.read_at_once(16, 3, 10) == [1, 4, 2]
    assert order.read_at_once(16, 4, 9) == [4, 1]
    assert order.read_at_once(16, 9, 9) == []


def test_reading_ahead_gives_the_batches_in_order(tmp_path):
    of = part(40, seed=1)
    batches = torch.randperm(120).split(16)
    for at_once in ((), [3, 3], [8], [1, 7]):
        found = [*read_ahead(stored(of, tmp_path).images, batches, at_once)]
        assert [len(batch) for batch in found] == [16] * 7 + [8]
        for batch, rows in zip(found, batches, strict=True):
            assert np.array_equal(batch.numpy(), of.images[rows.numpy()])


def test_from_disk_training_gives_the_bits_that_it_gives_from_memory(tmp_path, monkeypatch):
    """And those that it gives where it stops within a window and goes on."""
    monkeypatch.setattr(inference, "CHUNK", 64 * 3072)
    config = CONFIG.changed(epochs=2, augment="flip-crop")
    blockwise = Blockwise(block=4, window=48)
    in_memory, on_disk, stopped = (begin(config) for _ in range(3))
    in_memory.blockwise = on_disk.blockwise = stopped.blockwise = blockwise
    torch.manual_seed(0)
    assert go(in_memory, config, Checkpoints(tmp_path / "a"))
    parts = [stored(of, tmp_path) for of in (part(40, seed=1), part(10, seed=2))]
    torch.manual_seed(0)
    assert train(on_disk, *parts, config)
    assert same(in_memory, on_disk)
    checkpoints, left = Checkpoints(tmp_path / "b"), iter(range(4))
    torch.manual_seed(0)
    hooks = Hooks(keep=lambda: checkpoints.save(stopped), stopped=lambda: next(left, None) is None)
    assert not train(stopped, *parts, config, hooks)
    assert stopped.under_way.step == 4
    resumed = begin(config.changed(seed=5))  # which knows of no blocks: memory has grown
    assert checkpoints.restore(resumed)
    assert resumed.blockwise == blockwise
    assert train(resumed, *parts, config)
    assert same(in_memory, resumed)


def test_a_run_beyond_memory_is_a_run_like_any_other(store, tiny_eurosat, monkeypatch):
    quick = ("cnn-base", "dataset=eurosat", "epochs=2", "batch_size=16")
    free = psutil.virtual_memory()._replace(available=1_000_000)
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    result = invoke(*quick)
    assert result.exit_code == 0, result.stderr
    assert "The images (0.0 GB) do not fit in the free memory (0.0 GB): they are read from disk" in result.output
    (run,) = all_runs()
    assert run.data.params["images"] == "read from disk, shuffled in blocks"
    assert run.info.status == "FINISHED"
    assert {"test/accuracy", "val/loss"} <= run.data.metrics.keys()
