"""A network's layers, output shapes and parameter counts as text."""

import torch
from torch import nn


def model_summary(net: nn.Module, image_size: int) -> str:
    """A table of the layers that hold no other layers, from one forward pass of two black images.

    Args:
        net: Takes float32 (N, 3, S, S). It is left in the mode it was in.
        image_size: S.
    """
    rows: list[tuple[str, str, str, int]] = []
    handles = []
    for name, module in net.named_modules():
        if not list(module.children()):
            handles.append(module.register_forward_hook(_recorder(rows, name)))
    was_training = net.training
    parameter = next(net.parameters())
    net.eval()
    with torch.inference_mode():
        net(torch.zeros(2, 3, image_size, image_size, device=parameter.device))
    net.train(was_training)
    for handle in handles:
        handle.remove()

    title = ("layer", "type", "output (N first)", "parameters")
    cells = [title, *((name, kind, shape, f"{count:,}") for name, kind, shape, count in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    lines = [
        "  ".join((*(c.ljust(w) for c, w in zip(row[:3], widths, strict=False)), row[3].rjust(widths[3])))
        for row in cells
    ]
    rule = "-" * len(lines[0])
    trainable = sum(p.numel() for p in net.parameters() if p.requires_grad)
    total = sum(p.numel() for p in net.parameters())
    foot = f"{type(net).__name__}: {total:,} parameters, {trainable:,} trainable"
    return "\n".join([lines[0], rule, *lines[1:], rule, foot]) + "\n"


def _recorder(rows: list[tuple[str, str, str, int]], name: str):  # type: ignore[no-untyped-def]
    def record(module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        shape = "N x " + " x ".join(str(size) for size in output.shape[1:])
        rows.append((name, type(module).__name__, shape, sum(p.numel() for p in module.parameters())))

    return record
