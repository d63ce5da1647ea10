"""Explanations point at what decides: a bright corner, planted in noise, that a network was trained on."""

import base64
import io
import re
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from tests.conftest import copy_database, invoke, log_classifier
from tests.support.colour_models import colour_classifier
from tp1.base.errors import TP1Error
from tp1.models.classifier import Classifier, Preparation
from tp1.registry.explaining import Explainer, explain
from tp1.registry.predictor import Predictor, load_predictor

SIDE, CORNER = 24, 6
CORNERS = {"upper left": (0, 0), "lower right": (SIDE - CORNER, SIDE - CORNER)}


def planted(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Dark noise, and in each image a bright corner that is its class: red in the upper left, blue in the lower right.

    By its colour too, since Grad-CAM, which averages gradients over the image, is blind to what only a place decides.
    """
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 90, (count, SIDE, SIDE, 3)).astype(np.uint8)
    labels = np.arange(count) % 2
    for image, label in zip(images, labels, strict=True):
        row, column = list(CORNERS.values())[label]
        bright = generator.integers(170, 256, (CORNER, CORNER))
        image[row : row + CORNER, column : column + CORNER, 2 * label] = bright
    return images, labels


@pytest.fixture(scope="module")
def models(tmp_path_factory, empty_database) -> tuple[Path, str, str]:
    """A store, and the URIs of a trained network and of a program without convolutions in it."""
    folder = tmp_path_factory.mktemp("models")
    copy_database(empty_database, folder)
    torch.manual_seed(0)
    features = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()]
    net = nn.Sequential(*features, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * 36, 2))
    classifier = Classifier(net, tuple(CORNERS), Preparation(SIDE, (0.3,) * 3, (0.3,) * 3))
    images, labels = planted(64, seed=1)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(25):
        optimizer.zero_grad()
        F.cross_entropy(classifier.logits(torch.from_numpy(images)), torch.from_numpy(labels)).backward()
        optimizer.step()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        with mlflow.start_run():
            trained = log_classifier(classifier, images[:2], "planted", SIDE).model_uri
        with mlflow.start_run():
            flat = log_classifier(colour_classifier("ab", side=SIDE), images[:2], "planted", SIDE).model_uri
    return folder, trained, flat


@pytest.fixture
def here(models, tmp_path, monkeypatch) -> tuple[str, str]:
    """The URIs of both models, whose store is in use."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{models[0] / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    return models[1:]


def check_points_at(heat: np.ndarray, label: int) -> None:
    """The hottest pixel is in the corner or beside it, and half of the heat is: it is 1/9 of the image."""
    row, column = list(CORNERS.values())[label]
    near = np.zeros(heat.shape, bool)
    near[max(0, row - 2) : row + CORNER + 2, max(0, column - 2) : column + CORNER + 2] = True
    assert near.flat[heat.argmax()]
    assert heat[near].sum() > 0.5 * heat.sum()


@pytest.mark.parametrize("method", ["occlusion", "gradcam"])
def test_it_points_at_the_planted_corner(here, method):
    predictor = load_predictor(here[0])
    images, labels = planted(6, seed=2)
    assert (predictor.probabilities(images).argmax(axis=1) == labels).all()
    for image, label in zip(images, labels.tolist(), strict=True):
        heat = explain(predictor, image, label, method)
        assert (heat.shape, heat.dtype, heat.min() >= 0, heat.max()) == ((SIDE, SIDE), np.float32, True, 1)
        check_points_at(heat, label)


def test_occlusion_is_the_fall_of_the_probability():
    """Of a program whose answer is known: one pixel decides, and each window over it counts the same."""

    class Program(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            share = images[:, 3, 17, 0].float() / 255
            return torch.stack([share, 1 - share], dim=1)

    predictor = Predictor("", ("a", "b"), (SIDE, SIDE, 3), Program())
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[3, 17] = 255
    heat = explain(predictor, image, 0, "occlusion")
    assert heat[3, 17] == heat.max() == 1
    assert heat[12:, :].max() == heat[:, :12].max() == 0  # no window reaches from there to that pixel
    assert explain(predictor, image, 1, "occlusion").max() == 0  # nothing speaks for the other class


@pytest.mark.parametrize("method", ["occlusion", "gradcam"])
def test_the_gallery_shows_it(here, method):
    images, _ = planted(2, seed=3)
    np.save("images.npy", images)
    Image.fromarray(images[1]).resize((4 * SIDE, 4 * SIDE)).save("large.png")
    given = ("predict", "images=images.npy,large.png", f"model={here[0]}", "gallery=page.html")
    result = invoke(*given, f"explain={method}")
    assert result.exit_code == 0, result.output
    html = Path("page.html").read_text(encoding="utf-8")
    assert (
        f"Magenta marks what speaks for the predicted class; an image without it has nothing that does ({method})."
        in html
    )
    shown = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in re.findall(r'base64,([^"]+)" alt', html)
    ]
    for picture, image, label in zip(shown, [*images, np.kron(images[1], np.ones((4, 4, 1)))], (0, 1, 1), strict=True):
        assert picture.shape == image.shape
        magenta = (picture[..., 0].astype(float) - picture[..., 1]) * (picture[..., 2] > 128)
        row, column = np.unravel_index(magenta.argmax(), magenta.shape)
        size = len(image) // SIDE
        check_points_at(np.eye(SIDE, dtype=np.float32)[row // size][:, None] * np.eye(SIDE)[column // size], label)
    assert invoke(*given).exit_code == 0
    assert "Magenta" not in Path("page.html").read_text(encoding="utf-8")


def test_what_cannot_be_explained_is_one_line(here):
    np.save("images.npy", planted(1, seed=3)[0])
    no_maps = "explain=gradcam cannot explain this model: it has no feature maps that a gradient reaches. Give "
    for arguments, code, message in (
        ((f"model={here[1]}", "gallery=page.html", "explain=gradcam"), 1, no_maps),
        (
            (f"model={here[0]}", "explain=occlusion"),
            1,
            "explain=occlusion draws on a page: give it a name with gallery=",
        ),
        ((f"model={here[0]}", "gallery=page.html", "explain=lime"), 2, "'lime' is not one of 'occlusion', 'gradcam'"),
    ):
        result = invoke("predict", "images=images.npy", *arguments)
        assert result.exit_code == code
        (line,) = result.stderr.splitlines()
        assert message in line
        assert result.stdout == ""
        assert not Path("page.html").exists()


def test_a_program_that_is_no_graph_has_no_grad_cam():
    with pytest.raises(TP1Error, match="explain=gradcam cannot explain this model"):
        Explainer(Predictor("", ("a",), (8, 8, 3), nn.Identity()), "gradcam")
