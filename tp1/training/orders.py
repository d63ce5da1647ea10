"""The order in which an epoch takes the images: any at all where memory holds them, else one that a disk bears."""

from dataclasses import dataclass
from itertools import pairwise

import torch

from tp1.data.stored import ImageArray, Stored, row_bytes

WINDOW = 64 << 20  # bytes of images that are shuffled together; two windows are in memory, one being read ahead
PARTS = 16  # windows that smaller data have at least
BLOCKS = 512  # blocks of a window at least, so that it has images of all classes: files lie class by class


@dataclass(frozen=True)
class Blockwise:
    """An order in which images that lie side by side are read at once.

    The blocks of a data set are shuffled, then the images within each window of many blocks.

    Attributes:
        block: Images that lie side by side.
        window: Images that are shuffled together and read together: a whole number of batches.
    """

    block: int
    window: int

    def order(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Draw the order of an epoch: (count,) numbers, each once."""
        blocks = torch.arange(count).split(self.block)
        turns = torch.randperm(len(blocks), generator=generator).tolist()
        laid = torch.cat([blocks[turn] for turn in turns])
        return torch.cat(
            [window[torch.randperm(len(window), generator=generator)] for window in laid.split(self.window)]
        )

    def read_at_once(self, batch_size: int, first: int, batches: int) -> list[int]:
        """Return how many of an epoch's batches are read together, from batch ``first`` on: those of each window."""
        together = self.window // batch_size
        ends = [*range(first - first % together + together, batches, together), batches]
        return [end - start for start, end in pairwise([first, *ends]) if end > start]


def order_for(images: ImageArray, batch_size: int) -> Blockwise | None:
    """Return the order that a disk bears for images that memory does not hold; None for images that it does.

    It depends on nothing but the images' number and size and the batch size.
    """
    if not isinstance(images, Stored) or not images.beyond_memory:
        return None
    size = row_bytes(images)
    window = min(WINDOW, images.nbytes // PARTS)
    return Blockwise(block=max(1, window // BLOCKS // size), window=max(1, window // (size * batch_size)) * batch_size)


def draw_order(blockwise: Blockwise | None, count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw the order of an epoch of ``count`` images: (count,) numbers, each once."""
    return torch.randperm(count, generator=generator) if blockwise is None else blockwise.order(count, generator)
