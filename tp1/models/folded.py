"""Batch norm that was folded into the convolutions, as in weights from a quantised or a deployed model.

Such a layer is the identity in evaluation. In training it would normalise by the batch, and what the weights have
learned would be lost with the first step: its scale and shift are 1 and 0, not those of the layer that was folded.
"""

import torch
from torch import nn


def is_folded(features: nn.Module) -> bool:
    """Whether there is batch norm, and all of it is the identity: mean 0, variance 1, scale 1."""
    layers = _layers(features)
    return bool(layers) and all(
        not mean.any() and bool((variance == 1).all()) and bool((layer.weight == 1).all())
        for layer in layers
        for mean, variance in [_statistics(layer)]
    )


@torch.no_grad()
def unfold(features: nn.Module, images: torch.Tensor) -> None:
    """Give each batch norm the statistics of these images, and the scale and shift that undo them.

    The network computes what it did before, up to rounding; in training it now starts from there too.

    Args:
        features: Its batch norm is folded (:func:`is_folded`).
        images: float32 (N, 3, S, S), as the network takes them: some hundred training images.
    """
    found: dict[nn.BatchNorm2d, tuple[torch.Tensor, torch.Tensor]] = {}

    def measure(layer: nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        found[layer] = mean, variance

    layers = _layers(features)
    hooks = [layer.register_forward_pre_hook(measure) for layer in layers]
    training = features.training
    try:
        features.eval()(images)
    finally:
        features.train(training)
        for hook in hooks:
            hook.remove()
    for layer, (mean, variance) in found.items():
        identity = (1 + layer.eps) ** -0.5  # which is what variance 1 leaves
        layer.bias.add_(mean * identity)
        layer.weight.copy_((variance + layer.eps).sqrt() * identity)
        for old, new in zip(_statistics(layer), (mean, variance), strict=True):
            old.copy_(new)


def _layers(features: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for layer in features.modules() if isinstance(layer, nn.BatchNorm2d)]


def _statistics(layer: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    assert layer.running_mean is not None
    assert layer.running_var is not None
    return layer.running_mean, layer.running_var
