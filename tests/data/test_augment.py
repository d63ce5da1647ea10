"""Augmentation crops and mirrors images as the generator alone decides."""

import numpy as np
import torch

from tp1.data.augment import flip_crop


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
