"""However batches get to the device, training is the same bit for bit: also where it stops and goes on."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tests.support.made_training import CONFIG, part
from tests.training.test_checkpoints import begin, go, same
from tp1.data.augment import Places, draw
from tp1.training import batches
from tp1.training.averaging import RunningMean
from tp1.training.batches import feed, place, resident, staged
from tp1.training.checkpoints import Checkpoints

CPU = torch.device("cpu")
TRAIN = part(40, seed=1)
AUGMENTATIONS = ("none", "flip-crop", "altflip-translate-cutout", "rotate")


@pytest.fixture
def one_ahead(monkeypatch):
    """Batches as a device without room for the images gets them."""
    monkeypatch.setattr(batches, "resident", lambda images, rows: staged(images, rows, CPU))


def test_both_ways_give_the_batches_in_order():
    images = torch.from_numpy(TRAIN.images)
    rows = torch.randperm(120).split(50)
    for way in (resident(images, rows), staged(images, rows, CPU)):
        for batch, wanted in zip(way, rows, strict=True):
            assert torch.equal(batch, images[wanted])


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_the_way_to_the_device_does_not_show(tmp_path, augment, request):
    config = CONFIG.changed(augment=augment, epochs=2)
    plain, other, stopped = begin(config), begin(config), begin(config)
    torch.manual_seed(0)
    assert go(plain, config, Checkpoints(tmp_path / "plain"))
    request.getfixturevalue("one_ahead")
    torch.manual_seed(0)
    assert go(other, config, Checkpoints(tmp_path / "other"))
    assert same(plain, other)
    torch.manual_seed(0)
    assert not go(stopped, config, Checkpoints(tmp_path / "stopped"), 4)  # within the first epoch, after 3 steps
    resumed = begin(config.changed(seed=5))
    assert Checkpoints(tmp_path / "stopped").restore(resumed)
    assert resumed.under_way.step == 3
    assert go(resumed, config, Checkpoints(tmp_path / "stopped"))
    assert same(plain, resumed)


@pytest.mark.usefixtures("one_ahead")
def test_the_next_batch_is_under_way_but_not_drawn_yet(monkeypatch):
    sent, drawn = [], []
    original = batches._copy
    monkeypatch.setattr(
        batches, "_copy", lambda images, rows, *others: (sent.append(rows), original(images, rows, *others))[1]
    )

    def draws(rows: torch.Tensor) -> Places | None:
        drawn.append(rows)
        return draw(("flip",), (32, 32), rows, 1, torch.Generator())

    images, labels = torch.from_numpy(TRAIN.images), torch.from_numpy(TRAIN.labels)
    feeding: Iterator = feed(images, labels, torch.arange(120).split(50), draws, CPU)
    seen = []
    for _, target in feeding:
        seen.append((len(sent), len(drawn), len(target)))
    assert seen == [(2, 1, 50), (3, 2, 50), (3, 3, 20)]


def test_on_the_cpu_images_stay_where_they_are():
    images = torch.from_numpy(TRAIN.images)
    assert place(images, CPU) is images


def test_the_running_mean_is_torchs():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    own = RunningMean(model, 0.9)
    torchs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    for _ in range(5):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
            model(torch.randn(2, 3, 8, 8))
        own.update_parameters(model)
        torchs.update_parameters(model)
        assert list(own.state_dict()) == list(torchs.state_dict())
        for one, other in zip(own.state_dict().values(), torchs.state_dict().values(), strict=True):
            assert torch.equal(one, other)
    assert copy.deepcopy(own).n_averaged == 5  # as a checkpoint's best weights are taken
