"""Batches on the device that computes: gathered there where the images fit, else sent there one ahead.

The images of a part are uint8, a quarter of what the network sees, and stay where they are for the whole training:
a device with room for them holds them all. What is random is drawn on the CPU (:mod:`tp1.data.augment`), when a batch's
turn comes and not before: so the generator's state in a checkpoint is that of the batches that were trained on, though
the next one may already be on its way.

Written for CUDA by its documentation, and tested on the CPU: it has not been measured on a GPU yet.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from tp1.data.augment import Places, apply
from tp1.data.stored import ImageArray, Stored
from tp1.training.ranks import ALONE, Ranks

Images = torch.Tensor | Stored
SHARE = 0.5  # of a device's free memory that images may take; the rest is for the network


def opened(images: ImageArray) -> Images:
    """The images as a tensor; as they are if they stay on disk."""
    return images if isinstance(images, Stored) else torch.from_numpy(images)


def place(images: Images, device: torch.device) -> Images:
    """The images on the device if it has room for them; else as they are, in the machine's own memory or on its disk.

    Only CUDA says how much is free: other accelerators get their batches one by one.
    """
    if device.type != "cuda" or isinstance(images, Stored):
        return images
    # What torch has reserved and does not use, after an earlier training, is free as well.
    spare = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = torch.cuda.mem_get_info(device)[0] + spare
    return images.to(device) if images.nbytes <= SHARE * free else images


def feed(
    images: Images,
    labels: torch.Tensor,
    batches: Sequence[torch.Tensor],
    draws: Callable[[torch.Tensor], Places | None],
    device: torch.device,
    read_at_once: Sequence[int] = (),
    ranks: Ranks = ALONE,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield augmented images and labels of this process's share of each batch, on the device.

    If a share is filled up (:meth:`~tp1.training.ranks.Ranks.cut`), what fills it has no label.

    Nothing here waits for the device, so that its next batch is ready before it has computed this one.

    Args:
        images: (N, ...), as :func:`place` returned them.
        labels: (N,) class numbers, on the device.
        batches: The rows of each batch, on the CPU.
        draws: Draws the augmentation of the rows of a batch; called when it is that batch's turn.
        read_at_once: Numbers of batches whose images are read together from the disk, where they lie there; what is
            left is read batch by batch.
        ranks: The processes that have a share of each batch; each draws for the whole batch, so that it draws as one.
    """
    shares = [ranks.cut(rows) for rows in batches]
    on_device = send(torch.cat(shares), device).split([len(rows) for rows in shares])
    gathered: Iterator[torch.Tensor]
    if isinstance(images, Stored):
        gathered = (send(batch, device) for batch in read_ahead(images, shares, read_at_once))
    elif images.device == device:
        gathered = resident(images, on_device)
    else:
        gathered = staged(images, shares, device)
    for rows, here, batch in zip(batches, on_device, gathered, strict=True):
        places = draws(rows)
        if places is not None:
            batch = apply(batch, places.moved(lambda drawn: send(ranks.cut(drawn), device)))
        yield batch, labels[here[: len(ranks.share(len(rows)))]]


def resident(images: torch.Tensor, batches: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Yield batches of images that lie where the rows do, and where the network computes."""
    for rows in batches:
        yield images[rows]


def staged(images: torch.Tensor, batches: Sequence[torch.Tensor], device: torch.device) -> Iterator[torch.Tensor]:
    """Yield batches of images in the machine's own memory, copied to the device, one ahead.

    On CUDA the copy of the next batch runs on a stream of its own, from pinned memory, beside the computation.
    """
    copies = torch.cuda.Stream(device) if device.type == "cuda" else None
    waiting: tuple[torch.Tensor, torch.cuda.Event | None] | None = None
    for rows in [*batches, None]:
        coming = None if rows is None else _copy(images, rows, device, copies)
        if waiting is not None:
            batch, copied = waiting
            if copied is not None:
                computing = torch.cuda.current_stream(device)
                computing.wait_event(copied)
                batch.record_stream(computing)  # its memory is not given away before the computation is done
            yield batch
        waiting = coming


def read_ahead(
    images: Stored, batches: Sequence[torch.Tensor], read_at_once: Sequence[int] = ()
) -> Iterator[torch.Tensor]:
    """Yield batches of images that lie on disk; the next ones are read while these are in use.

    Args:
        read_at_once: As for :func:`feed`. So many batches are in memory twice over.
    """
    groups = []
    start = 0
    for count in [*read_at_once, *[1] * (len(batches) - sum(read_at_once))]:
        groups.append(batches[start : start + count])
        start += count
    with ThreadPoolExecutor(1, "read-ahead") as reader:
        coming = [reader.submit(_read, images, group) for group in groups[:1]]
        for number, group in enumerate(groups):
            read = coming.pop().result()
            if number + 1 < len(groups):
                coming.append(reader.submit(_read, images, groups[number + 1]))
            # Copies, small beside the window: a view that the caller still holds would keep all of it.
            yield from (batch.clone() for batch in read.split([len(rows) for rows in group]))


def _read(images: Stored, group: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.from_numpy(images[torch.cat(list(group)).numpy()])


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a small tensor to the device without waiting; on the CPU it is the tensor itself.

    Memory that is not pinned would make CUDA wait for all that it has to do.
    """
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _copy(
    images: torch.Tensor, rows: torch.Tensor, device: torch.device, stream: torch.cuda.Stream | None
) -> tuple[torch.Tensor, torch.cuda.Event | None]:
    """Gather a batch and start its copy: the batch, and the event at whose occurrence it is whole."""
    if stream is None:
        return images[rows].to(device), None
    gathered = torch.empty((len(rows), *images.shape[1:]), dtype=images.dtype, pin_memory=True)
    torch.index_select(images, 0, rows, out=gathered)
    with torch.cuda.stream(stream):
        # torch keeps pinned memory from reuse until the copies that were queued from it are done.
        batch = gathered.to(device, non_blocking=True)
        return batch, stream.record_event()
