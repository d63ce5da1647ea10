"""AirNet: its whitening layer, which is set from training images and stays as it is."""

import pytest
import torch

from tp1.base.errors import TP1Error
from tp1.config import TrainConfig
from tp1.data.dataset import load_data
from tp1.experiment import Experiment
from tp1.models.airnet import AirNet
from tp1.models.build import SAMPLE, build
from tp1.models.networks import airnet
from tp1.models.weights import Weights
from tp1.recipe import Muon
from tp1.training.optimizers import make_optimizers


def correlated(count=400):
    """Images whose neighbouring pixels are alike, as those of photographs: (N, 3, 32, 32)."""
    noise = torch.randn(count, 3, 36, 36, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.avg_pool2d(noise, 5, stride=1) * 5


def test_the_first_layer_whitens_patches():
    net, images = AirNet(10), correlated()
    before = net.features[0](images)
    net.start_from(images)
    stem = net.features[0](images)
    values = stem[:, :12].permute(0, 2, 3, 1).reshape(-1, 12)
    covariance = values.T @ values / len(values)
    assert torch.allclose(covariance, torch.eye(12), atol=0.05)
    assert torch.equal(stem[:, :12], -stem[:, 12:])
    assert not torch.allclose(before[:, :12].permute(0, 2, 3, 1).reshape(-1, 12).T.cov(), torch.eye(12), atol=0.5)


def test_a_model_starts_from_its_training_images_and_keeps_the_first_layer(image_folder):
    data = load_data(str(image_folder), None, None)
    experiment = Experiment(name="air", summary="", model=airnet, config=TrainConfig(), minutes=1)
    model = build(experiment, data, 32, 0.0, [None]).model
    stem = model.net.features[0].weight
    expected = AirNet(3)
    expected.start_from(model.preparation(torch.from_numpy(data.train.images)))
    assert len(data.train.images) <= SAMPLE
    assert torch.equal(stem, expected.features[0].weight)
    trained = {id(tensor) for tensor, _ in make_optimizers(Muon(), model, "fp32").tensors()}
    assert id(stem) not in trained


def test_a_first_layer_that_is_given_stays(image_folder):
    data = load_data(str(image_folder), None, None)
    experiment = Experiment(name="air", summary="", model=airnet, config=TrainConfig(), minutes=1)
    given = AirNet(3)
    weights = Weights("a file", given.state_dict(), (0.5,) * 3, (0.25,) * 3)
    model = build(experiment, data, 32, 0.0, [weights]).model
    assert torch.equal(model.net.features[0].weight, given.features[0].weight)


def test_an_image_that_is_too_small_is_an_error():
    assert AirNet(10, 16)(torch.zeros(2, 3, 16, 16)).shape == (2, 10)
    with pytest.raises(TP1Error, match="16 or more"):
        AirNet(10, 15)


def test_the_docstring_counts_the_parameters():
    parameters = list(AirNet(10).parameters())
    fixed = sum(parameter.numel() for parameter in parameters if not parameter.requires_grad)
    assert f"{sum(map(torch.Tensor.numel, parameters)):,} parameters, of which {fixed:,} are fixed" in AirNet.__doc__
