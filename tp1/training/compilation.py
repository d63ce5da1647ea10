"""The forward and backward pass of training steps through ``torch.compile``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from tp1.base.errors import TP1Error, why
from tp1.models.classifier import ImageModel


def training_pass(classifier: ImageModel, mode: str, size: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return ``classifier.logits``, compiled unless ``mode`` is ``none``; the classifier itself stays as it is.

    It is compiled when it is first called, for batches of ``size`` alone: with other sizes it would be compiled again.
    """
    if mode == "none":
        return classifier.logits
    torch.compiler.reset()  # what earlier trainings of this process compiled counts against torch's limit
    compiled = torch.compile(classifier.logits, mode=mode, dynamic=False)

    def logits(batch: torch.Tensor) -> torch.Tensor:
        if len(batch) != size:
            return classifier.logits(batch)
        torch.compiler.cudagraph_mark_step_begin()  # a CUDA graph may now overwrite what it gave in the last step
        return compiled(batch)

    return logits


@contextmanager
def compiling(mode: str) -> Iterator[None]:
    """Say in one line that torch cannot compile, which it finds out in the first training step.

    Raises:
        TP1Error: torch could not compile the network.
    """
    if mode == "none":
        yield
        return
    from torch._dynamo.exc import TorchDynamoException  # here, because it takes a second

    try:
        yield
    except TorchDynamoException as error:
        raise TP1Error(
            f"compile={mode}: torch cannot compile this network here ({why(error)}). It needs a C++ compiler, and "
            "Triton on a GPU; compile=none does without."
        ) from error
