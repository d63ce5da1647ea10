"""A classifier prepares images and answers with probabilities."""

import numpy as np
import pytest
import torch

from tp1.models.classifier import Classifier, Preparation
from tp1.models.cnn import CNNBase

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def images(count: int, side: int = 32) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def test_preparation_is_the_textbook_normalisation():
    batch = images(5)
    expected = ((batch / 255 - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)
    prepared = Preparation(32, MEAN, STD)(batch)
    assert torch.allclose(prepared, expected, atol=1e-5)


def test_images_of_another_size_are_resized_inside():
    classifier = Classifier(CNNBase(4, 48), tuple("abcd"), Preparation(48, MEAN, STD)).eval()
    assert classifier.preparation(images(2)).shape == (2, 3, 48, 48)
    plain = torch.full((1, 32, 32, 3), 128, dtype=torch.uint8)
    assert classifier.preparation(plain)[0, 0].unique().numel() <= 2  # resizing a plain colour leaves it plain


def test_probabilities_add_up_to_one():
    probabilities = Classifier(CNNBase(4), tuple("abcd"), Preparation(32, MEAN, STD)).eval()(images(6))
    assert probabilities.dtype == torch.float32
    assert probabilities.sum(dim=1).tolist() == pytest.approx([1] * 6, abs=1e-6)


def test_a_constant_channel_does_not_divide_by_zero():
    prepared = Preparation(32, (0.5,) * 3, (0.0,) * 3)(images(2))
    assert prepared.isfinite().all()
