"""A model's layers, output shapes and parameter counts as text."""

from collections.abc import Callable

import torch
from torch import nn

from tp1.base.errors import TP1Error
from tp1.models.classifier import ImageModel


def model_summary(model: ImageModel, image_shape: tuple[int, int, int]) -> str:
    """Return a table of the layers without sublayers, measured in one forward pass of two black images.

    Args:
        model: Its mode (training or evaluation) is restored.
        image_shape: (H, W, 3) of an image.

    Raises:
        TP1Error: The logits do not have the shape (N, classes).
    """
    rows: list[tuple[str, str, str, str]] = []
    leaves = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    handles = [module.register_forward_hook(_recorder(rows, name)) for name, module in leaves]
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        shape = model.logits(torch.zeros(2, *image_shape, dtype=torch.uint8, device=model.device)).shape
    model.train(was_training)
    for handle in handles:
        handle.remove()
    if shape != (2, len(model.classes)):  # before training, not after it
        raise TP1Error(
            f"the network returns {'x'.join(map(str, shape))} logits for 2 images and {len(model.classes)} classes: it "
            f"must return 2x{len(model.classes)}."
        )

    cells = [("layer", "type", "output (N first)", "parameters"), *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    lines = [
        "  ".join((*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=False)), row[3].rjust(widths[3])))
        for row in cells
    ]
    rule = "-" * len(lines[0])
    total = sum(parameter.numel() for parameter in model.parameters())
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    foot = f"{total:,} parameters, {trainable:,} of them trained, {total - trainable:,} frozen"
    return "\n".join([lines[0], rule, *lines[1:], rule, foot]) + "\n"


def _recorder(
    rows: list[tuple[str, str, str, str]], name: str
) -> Callable[[nn.Module, tuple[torch.Tensor, ...], torch.Tensor], None]:
    def record(module: nn.Module, _inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        shape = "N x " + " x ".join(str(size) for size in output.shape[1:])
        count = sum(parameter.numel() for parameter in module.parameters())
        rows.append((name, type(module).__name__, shape, f"{count:,}"))

    return record
