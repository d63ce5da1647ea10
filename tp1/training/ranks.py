"""The processes that compute one run together, which ``torchrun`` starts; one process is the trivial case.

The first process leads: it alone reads and writes checkpoints and the tracking store, and it alone speaks. Every
process holds the whole network and computes its share of each batch and of each evaluation. What is random is drawn
alike in all of them, but for dropout. So a checkpoint holds the state of the run, whatever the number of processes.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from signal import SIGTERM
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from tp1.base.errors import TP1Error, why
from tp1.base.interrupts import Interrupted, deferred
from tp1.base.processes import process_count
from tp1.base.progress import say
from tp1.models.classifier import ImageModel

PATIENCE = timedelta(minutes=10)  # that a process waits for the others at work, before it takes them for lost
PREPARATION = timedelta(days=7)  # that it waits for them to decode images or to compute features
SAME_SECONDS = 5.0  # that a process that fails waits for the first to meet the same error
LEAST = 2  # images in a share of a batch, which batch norm needs
FAILED, ENDING, OVER = "tp1/failed", "tp1/ending", "tp1/over"  # what processes tell each other beside their work

T = TypeVar("T")
Pass = Callable[[torch.Tensor], torch.Tensor]


class LostError(Interrupted):
    """Another process of the run has ended: this one stops, as if by a signal."""

    def __init__(self, reason: str) -> None:
        super().__init__(SIGTERM, reason)


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, and which of them this one is.

    Attributes:
        number: Of this process, from 0; the first leads.
        count: Of all processes.
        patient: The same processes where they wait for each other's preparation; None for one process.
        board: Where they leave word for each other; None for one process.
    """

    number: int = 0
    count: int = 1
    patient: dist.ProcessGroup | None = None
    board: Store | None = None

    @property
    def leads(self) -> bool:
        """Whether this is the first process."""
        return self.number == 0

    def shares(self, size: int) -> list[range]:
        """Each process's part of ``size`` things in a row; the first process has the most."""
        ends = [-(-size * number // self.count) for number in range(self.count + 1)]
        return [range(first, end) for first, end in pairwise(ends)]

    def share(self, size: int) -> range:
        """This process's part of ``size`` things in a row."""
        return self.shares(size)[self.number]

    def cut(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows of a batch that this process computes: its share, filled up to :data:`LEAST` by any others."""
        own = self.share(len(rows))
        missing = LEAST - len(own)
        chosen = rows[own.start : own.stop]
        if missing <= 0 or self.count == 1:
            return chosen
        others = torch.cat([rows[own.stop :], rows[: own.start]])
        return torch.cat([chosen, others[:missing]])

    def sent(self, make: Callable[[], T]) -> T:
        """What ``make`` returns in the first process; the others wait for it."""
        if self.count == 1:
            return make()
        box: list[T | None] = [make() if self.leads else None]
        dist.broadcast_object_list(box, group=self.patient)
        made: T = box[0]  # type: ignore[assignment]
        return made

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            dist.barrier(group=self.patient)

    def summed(self, *values: float) -> list[float]:
        """The sum of each value over all processes."""
        if self.count == 1:
            return [*values]
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        return total.tolist()

    def pool(self, *tensors: torch.Tensor) -> None:
        """Give the first process each tensor's sum over all processes, and the others zero, in place."""
        for tensor in tensors if self.count > 1 else ():
            dist.all_reduce(tensor)
            if not self.leads:
                tensor.zero_()

    def gathered(self, rows: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
        """The rows of all processes, one after the other.

        Args:
            rows: (n, ...) of this process, on the CPU.
            counts: The number of rows of each process.
        """
        if self.count == 1:
            return rows
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(found, padded)
        return torch.cat([one[:count] for one, count in zip(found, counts, strict=True)])

    def parallel(self, classifier: ImageModel, compute: Pass) -> Pass:
        """Return ``compute``, after whose backward pass the gradients are the means over all processes."""
        if self.count == 1:
            return compute
        devices = [classifier.device] if classifier.device.type == "cuda" else None
        return DistributedDataParallel(_Pass(classifier, compute), device_ids=devices)

    def even(self, model: nn.Module) -> None:
        """Give all processes the first one's running statistics of batch norm."""
        for buffer in model.buffers() if self.count > 1 else ():
            dist.broadcast(buffer, 0)

    def seed_dropout(self, seed: int, epoch: int, step: int) -> None:
        """Let each process draw other numbers for dropout, which follow from the place in the training alone.

        One process draws them one after the other, as its generator's state in a checkpoint says.
        """
        if self.count > 1:
            place = f"{seed}/{epoch}/{step}/{self.number}".encode()
            torch.manual_seed(int.from_bytes(hashlib.blake2b(place, digest_size=7).digest(), "big"))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Inside the block, the end of another process ends this one.

        Raises:
            LostError: Another process has ended.
        """
        try:
            yield
        except BaseException as error:
            reason = ""
            with suppress(Interrupted), deferred():  # torchrun is about to send a signal
                reason = self._why_lost(error)
            if not reason:
                raise
            raise LostError(reason) from error

    def _why_lost(self, error: BaseException) -> str:
        """Return why another process ended, if this error comes from that; else nothing. The first process says it."""
        if self.board is None:
            return ""
        is_loss = isinstance(error, RuntimeError) and _is_of_others(error)
        reason = self._word(wait=is_loss) if is_loss or isinstance(error, Interrupted) else ""
        if is_loss and not reason:
            reason = "another of its processes has ended without a word; torchrun says which"
        if self.leads:
            with suppress(RuntimeError):
                self.board.set(ENDING, "1")
            if reason:
                say(f"The run is stopped: {reason}.")
        return reason

    def _word(self, *, wait: bool) -> str:
        """What another process has left on the board before it ended; empty if it could not."""
        assert self.board is not None
        for _ in range(5 if wait else 1):  # it may come after the end of the connection
            with suppress(RuntimeError):
                if self.board.check([FAILED]):
                    return bytes(self.board.get(FAILED)).decode()
            time.sleep(0.1 * wait)
        return ""

    def leave(self, error: BaseException) -> None:
        """Leave word of this process's error, before it ends.

        ``torchrun`` then ends the first one. If that has met the same error, it first gets the time to end the run.
        """
        if isinstance(error, KeyboardInterrupt):  # torchrun knows, or another process has ended
            return
        assert self.board is not None
        end = time.monotonic() + SAME_SECONDS
        with suppress(RuntimeError):
            self.board.set(FAILED, f"process {self.number + 1} of {self.count} says: {why(error)}".rstrip("."))
            while time.monotonic() < end and not self.board.check([OVER]):
                if self.board.check([ENDING]):
                    end = max(end, time.monotonic() + 1)
                time.sleep(0.1)


class _Pass(nn.Module):
    """A network's pass as a module: DistributedDataParallel takes no function."""

    def __init__(self, classifier: ImageModel, compute: Pass) -> None:
        super().__init__()
        self.classifier = classifier
        self.compute = compute

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.compute(batch)


ALONE = Ranks()


@contextmanager
def joined() -> Iterator[Ranks]:
    """Yield the processes that ``torchrun`` has started for this run; without it, there is one.

    Raises:
        TP1Error: They do not find each other.
    """
    if process_count() == 1:
        yield ALONE
        return
    try:
        board, number, count = next(rendezvous("env://", timeout=PATIENCE))
        kinds = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(kinds, store=board, rank=number, world_size=count, timeout=PATIENCE)
        patient = dist.new_group(backend="gloo", timeout=PREPARATION)
        assert isinstance(patient, dist.ProcessGroup)
    except (RuntimeError, ValueError) as error:
        raise TP1Error(
            f"the processes of this run do not find each other ({why(error)}): start them with torchrun, and give "
            "every machine the address of the first."
        ) from error
    ranks = Ranks(number, count, patient, board)
    try:
        yield ranks
    except BaseException as error:
        if not ranks.leads:
            ranks.leave(error)
        raise
    finally:
        if ranks.leads:
            with suppress(RuntimeError):
                board.set(OVER, "1")
        if dist.is_initialized():
            dist.destroy_process_group()


def _is_of_others(error: RuntimeError) -> bool:
    """Whether torch could not reach another process; gloo raises plain errors, which name its source files."""
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower() or "nccl" in str(error).lower()
