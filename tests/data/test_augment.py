"""Augmentation crops and mirrors images as the generator alone decides."""

import hashlib

import numpy as np
import pytest
import torch

from tp1.base.errors import TP1Error
from tp1.data.augment import apply, draw

# Of images and generator's state before drawing and applying were two steps.
GOLDEN = {
    "flip": "62c884c15f580f90",
    "crop": "0d291d9f0019e11a",
    "flip-crop": "e9b971b0b6a4842d",
    "altflip-translate-cutout": "858f0578b1770948",
    "rotate": "42342388aff0ed29",
    "flip-altflip-crop-translate-rotate-cutout": "53a676fa9e69a2b1",
    "altflip-crop": "533102b89af45be8",
    "flip-rotate": "ee6416290a06d5e1",
}


def augment(
    images: torch.Tensor, transforms: tuple[str, ...], rows: torch.Tensor, epoch: int, generator: torch.Generator
) -> torch.Tensor:
    return apply(images, draw(transforms, tuple(images.shape[1:3]), rows, epoch, generator))


def flip_crop(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return augment(images, ("flip", "crop"), torch.arange(len(images)), 1, generator)


def coordinates(count: int, side: int = 32) -> torch.Tensor:
    """Images whose pixels say where they were: red is 1 + row, green 1 + column, blue the image's number."""
    rows, columns = torch.meshgrid(torch.arange(1, side + 1), torch.arange(1, side + 1), indexing="ij")
    image = torch.stack([rows, columns, torch.zeros_like(rows)], dim=-1).to(torch.uint8)
    images = image.repeat(count, 1, 1, 1)
    images[..., 2] = torch.arange(count, dtype=torch.uint8)[:, None, None]
    return images


def test_every_image_is_a_crop_of_its_own_padded_self_perhaps_mirrored():
    originals = coordinates(200).numpy()
    results = flip_crop(torch.from_numpy(originals), torch.Generator().manual_seed(0)).numpy()
    seen = set()
    for original, result in zip(originals, results, strict=True):
        padded = np.pad(original, ((4, 4), (4, 4), (0, 0)))
        matches = [
            (top, left, mirrored)
            for top in range(9)
            for left in range(9)
            for mirrored in (False, True)
            if np.array_equal(padded[top : top + 32, left : left + 32][:, :: -1 if mirrored else 1], result)
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    assert {top for top, _, _ in seen} == set(range(9))
    assert {left for _, left, _ in seen} == set(range(9))
    assert len(seen) > 100  # a draw for each image, not one for the batch


def test_half_are_mirrored():
    results = flip_crop(coordinates(250).repeat(4, 1, 1, 1), torch.Generator().manual_seed(0))
    middle = results[:, 16, 8:24, 1].int()
    mirrored = (middle[:, -1] < middle[:, 0]).float().mean().item()
    assert 0.45 < mirrored < 0.55


def test_the_generator_alone_decides():
    images = coordinates(64)
    results = [flip_crop(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize("name", list(GOLDEN))
def test_golden_draws(name):
    """A seed gives the batches that it always gave, and leaves the generator as it always did."""
    generator = torch.Generator().manual_seed(7)
    images = torch.randint(0, 256, (40, 32, 32, 3), dtype=torch.uint8, generator=generator)
    rows = torch.randperm(1000, generator=generator)[:40]
    drawing, digest = torch.Generator().manual_seed(3), hashlib.sha256()
    for epoch in (1, 2):
        digest.update(augment(images, tuple(name.split("-")), rows, epoch, drawing).numpy().tobytes())
    digest.update(drawing.get_state().numpy().tobytes())
    assert digest.hexdigest()[:16] == GOLDEN[name]


def augmented(images: torch.Tensor, *transforms: str, epoch: int = 1, seed: int = 0) -> torch.Tensor:
    rows = torch.arange(len(images))
    return augment(images, transforms, rows, epoch, torch.Generator().manual_seed(seed))


def test_no_transform_is_the_same_images_and_flip_crop_the_same_draws():
    images = coordinates(64)
    assert augmented(images) is images
    assert torch.equal(augmented(images, "flip", "crop"), flip_crop(images, torch.Generator().manual_seed(0)))


def test_a_crop_alone_is_a_crop_of_the_padded_image():
    for original, result in zip(coordinates(50).numpy(), augmented(coordinates(50), "crop").numpy(), strict=True):
        padded = np.pad(original, ((4, 4), (4, 4), (0, 0)))
        places = [(y, x) for y in range(9) for x in range(9)]
        assert sum(np.array_equal(padded[y : y + 32, x : x + 32], result) for y, x in places) == 1


def test_altflip_shows_each_image_once_each_way_in_two_epochs():
    images = coordinates(200)
    first, second, third = (augmented(images, "altflip", epoch=epoch) for epoch in (1, 2, 3))
    is_same = (first == images).flatten(1).all(1)
    assert torch.equal(first[~is_same], images[~is_same].flip(2))
    assert 60 < is_same.sum() < 140
    assert torch.equal(second, first.flip(2))
    assert torch.equal(third, first)


def test_rotate_turns_by_quarters_and_with_flip_makes_all_eight():
    original = coordinates(1)[0]
    turned = [torch.rot90(original, k) for k in range(4)]
    for transforms, wanted in ((("rotate",), turned), (("flip", "rotate"), turned + [one.flip(1) for one in turned])):
        names = tuple(name for name in ("flip", "altflip", "crop", "translate", "rotate") if name in transforms)
        found = augmented(original.repeat(200, 1, 1, 1), *names)
        seen = [sum(torch.equal(one, image) for image in found) for one in wanted]
        assert sum(seen) == 200
        assert min(seen) > 0.5 * 200 / len(wanted)
    with pytest.raises(TP1Error, match="rotate takes square images, and these have 16x32 pixels"):
        augmented(coordinates(2)[:, :, :16], "rotate")


def test_translate_continues_the_image_and_cutout_blackens_a_square():
    originals = coordinates(100)
    results = augmented(originals, "translate").numpy()
    seen = set()
    for original, result in zip(originals.numpy(), results, strict=True):
        padded = np.pad(original, ((2, 2), (2, 2), (0, 0)), mode="reflect")
        (place,) = [
            (y, x) for y in range(5) for x in range(5) if np.array_equal(padded[y : y + 32, x : x + 32], result)
        ]
        seen.add(place)
    assert len(seen) > 15
    black = (augmented(originals, "cutout") == 0).all(-1)
    assert (black.flatten(1).sum(1) == 12 * 12).all()
    assert (black.any(2).sum(1) == 12).all()
    assert len({tuple(one.flatten().nonzero()[0].tolist()) for one in black}) > 50
