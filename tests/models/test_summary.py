"""A network whose logits do not fit the classes is refused before it is trained."""

import pytest
from torch import nn

from tp1.base.errors import TP1Error
from tp1.models.classifier import Classifier, Preparation
from tp1.models.summary import model_summary


@pytest.mark.parametrize("outputs", [2, 5])
def test_the_wrong_number_of_classes_is_said(outputs):
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, outputs))
    model = Classifier(net, tuple("abc"), Preparation(8, (0.5,) * 3, (0.25,) * 3))
    with pytest.raises(TP1Error, match=f"returns 2x{outputs} logits for 2 images and 3 classes: it must return 2x3"):
        model_summary(model, (8, 8, 3))
