"""The mistakes that a model is surest of come first, with their images."""

import io

import numpy as np
from PIL import Image

from tp1.report.mistakes import mistakes_figure, mistakes_file, read_mistakes, surest_mistakes
from tp1.training.evaluation import Evaluation


def made(side: int) -> tuple[Evaluation, np.ndarray]:
    probabilities = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7]], np.float32)
    evaluation = Evaluation(("a", "b"), np.array([5, 6, 7, 8]), np.array([1, 1, 0, 1]), probabilities, 0.5)
    images = np.stack([np.full((side, side, 3), 10 * row, np.uint8) for row in range(4)])
    return evaluation, images


def test_the_surest_come_first_with_their_images():
    evaluation, images = made(4)
    found = surest_mistakes(evaluation, images)
    assert [(one.index, one.true, one.predicted) for one in found] == [(6, "b", "a"), (7, "a", "b"), (5, "b", "a")]
    assert np.allclose([(one.probability, one.of_true) for one in found], [(0.9, 0.1), (0.8, 0.2), (0.6, 0.4)])
    assert [np.asarray(Image.open(io.BytesIO(one.image)))[0, 0, 0] for one in found] == [10, 20, 0]
    assert read_mistakes(mistakes_file(found)) == found


def test_large_images_are_kept_small():
    evaluation, images = made(900)
    assert all(max(Image.open(io.BytesIO(one.image)).size) <= 192 for one in surest_mistakes(evaluation, images))


def test_a_model_without_mistakes_has_none():
    sure = Evaluation(("a", "b"), np.arange(2), np.arange(2), np.eye(2, dtype=np.float32), 0.0)
    assert read_mistakes(mistakes_file(surest_mistakes(sure, np.zeros((2, 4, 4, 3), np.uint8)))) == []


def test_every_mistake_is_drawn_in_its_proportions():
    evaluation, images = made(4)
    axes = mistakes_figure(surest_mistakes(evaluation, images), "t").axes[0]
    assert len(axes.images) == len(axes.texts) == 3
    boxes = [image.get_window_extent() for image in axes.images]
    assert all(abs(box.width - box.height) < 1 for box in boxes)
    assert len({round(box.x0) for box in boxes}) == 3
