"""Corruptions: each strength is what its definition says, for any division into batches."""

import colorsys
import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tests.conftest import coloured_images
from tp1.data.corruptions import CORRUPTIONS, corrupted, generator_for

# Hendrycks and Dietterich's strengths for images of 32 pixels; shift and rotation are this project's own.
AMOUNTS = {
    "noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "blur": (0.4, 0.6, 0.7, 0.8, 1.0),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "jpeg": (80, 65, 58, 50, 40),
    "shift": (1, 2, 3, 4, 6),
    "rotation": (5, 10, 15, 20, 30),
}
STRENGTHS = [(kind, strength) for kind in AMOUNTS for strength in range(1, 6)]


def harder(images: np.ndarray, kind: str, strength: int, seed: int = 0) -> np.ndarray:
    return corrupted(images, kind, strength, generator_for(seed, kind, strength))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Coloured noise with black and white in it, 24 pixels high and 32 wide."""
    found = np.concatenate([coloured_images(label, 5, 32, seed=4)[:, :24] for label in range(3)])
    found[:, 2:5, 2:5], found[:, 8:12, 20:] = 0, 255
    return found


def test_the_kinds_and_their_strengths_are_those_of_the_definition():
    assert {kind: corruption.amounts for kind, corruption in CORRUPTIONS.items()} == AMOUNTS


@pytest.mark.parametrize(("kind", "strength"), STRENGTHS)
def test_the_same_seed_gives_the_same_for_any_batches(images, kind, strength):
    whole = harder(images, kind, strength)
    assert (whole.shape, whole.dtype) == (images.shape, np.uint8)
    assert (whole != images).any()
    generator = generator_for(0, kind, strength)
    parts = [corrupted(images[part], kind, strength, generator) for part in np.split(np.arange(15), [4, 5])]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    is_drawn = kind in ("noise", "shift", "rotation")
    assert (harder(images, kind, strength, seed=1) != whole).any() == is_drawn


@pytest.mark.parametrize("strength", range(1, 6))
def test_noise_has_the_standard_deviation(strength):
    grey = np.full((40, 32, 32, 3), 128, np.uint8)
    noise = harder(grey, "noise", strength).astype(float) - 128
    assert noise.std() / 255 == pytest.approx(AMOUNTS["noise"][strength - 1], rel=0.01)
    assert abs(noise.mean()) < 0.3
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.02  # each channel has its own


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("strength", range(1, 6))
def test_blur_spreads_a_point_by_sigma(strength, side):
    point = np.zeros((1, side, side, 3), np.uint8)
    point[0, side // 2, side // 2] = 255
    sigma = AMOUNTS["blur"][strength - 1] * side / 32
    assert harder(np.full_like(point, 77), "blur", strength).tolist() == np.full_like(point, 77).tolist()
    found = harder(point, "blur", strength)[0, :, :, 0]
    one = np.zeros(side)
    one[side // 2] = 1
    line = ndimage.gaussian_filter1d(one, sigma, mode="nearest", truncate=4)
    np.testing.assert_allclose(found, 255 * np.outer(line, line), atol=0.51)
    if sigma > 0.8:  # below, the pixels are too coarse to measure it
        places = np.arange(side) - side // 2
        assert np.sqrt((line * places**2).sum()) == pytest.approx(sigma, rel=0.02)


@pytest.mark.parametrize("strength", range(1, 6))
def test_brightness_is_added_to_the_value(images, strength):
    found = harder(images[:3], "brightness", strength)
    for before, after in zip(images[:3, ::5, ::5].reshape(-1, 3), found[:, ::5, ::5].reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(before / 255))
        expected = colorsys.hsv_to_rgb(hue, saturation, min(value + AMOUNTS["brightness"][strength - 1], 1))
        np.testing.assert_allclose(after, np.array(expected) * 255, atol=0.501)


@pytest.mark.parametrize("strength", range(1, 6))
def test_contrast_draws_in_to_the_mean(images, strength):
    found = harder(images, "contrast", strength)
    for before, after in zip(images / 255, found, strict=True):
        mean = before.mean(axis=(0, 1), keepdims=True)
        expected = np.clip((before - mean) * AMOUNTS["contrast"][strength - 1] + mean, 0, 1)
        np.testing.assert_allclose(after, 255 * expected, atol=0.501)


@pytest.mark.parametrize("strength", range(1, 6))
def test_jpeg_has_the_quality(images, strength):
    found = harder(images, "jpeg", strength)
    buffer = io.BytesIO()
    Image.fromarray(images[0]).save(buffer, "JPEG", quality=AMOUNTS["jpeg"][strength - 1])
    np.testing.assert_array_equal(found[0], np.asarray(Image.open(buffer)))


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("strength", range(1, 6))
def test_a_shift_is_that_many_pixels_each_way(strength, side):
    points = np.zeros((60, side, side, 3), np.uint8)
    points[:, side // 2, side // 2] = 255
    found = np.argwhere(harder(points, "shift", strength)[..., 0])
    pixels = AMOUNTS["shift"][strength - 1] * side // 32
    moved = found[:, 1:] - side // 2
    assert (np.abs(moved) == pixels).all()
    assert {tuple(one) for one in np.sign(moved)} == {(1, 1), (1, -1), (-1, 1), (-1, -1)}
    assert (harder(np.full_like(points, 9), "shift", strength) == 9).all()  # the edge is repeated


@pytest.mark.parametrize("strength", range(1, 6))
def test_a_rotation_is_by_that_angle(images, strength):
    found = harder(images, "rotation", strength).astype(float)
    degrees = AMOUNTS["rotation"][strength - 1]
    turns = {
        angle: ndimage.rotate(images.astype(float), angle, axes=(2, 1), reshape=False, order=1, mode="nearest")
        for angle in (-degrees, degrees)
    }
    ways = set()
    for number, image in enumerate(found):
        near = {angle: np.abs(turned[number] - image).max() for angle, turned in turns.items()}
        angle = min(near, key=lambda one: near[one])
        assert near[angle] < 0.6
        ways.add(angle)
    assert ways == {-degrees, degrees}
