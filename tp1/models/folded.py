"""Batch norm folded into the convolutions: for a network that is served, and in weights that come so.

In evaluation, batch norm multiplies each channel by a number and adds another: the convolution before it can do so too.
Source: Jacob et al. 2018, Quantization and Training of Neural Networks, section 3.2.
"""

from collections import Counter
from operator import attrgetter
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tp1.models.convolution import Conv3x3


class _Tracer(fx.Tracer):
    """Sees a convolution or batch norm as one step, subclasses too."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, nn.Conv2d | nn.BatchNorm2d) or super().is_leaf_module(module, name)


def fold(net: nn.Module) -> nn.Module:
    """Return a network that computes the same in evaluation mode, up to rounding, with less batch norm to compute.

    It shares all other weights with ``net``, and a training cannot start from its state. Where batch norm does not
    follow a convolution at once it stays, and where either is of a derived class or has hooks. All of it stays in a
    network that torch.fx cannot trace, such as one with an `if` on its input: ``net`` itself is returned.

    Args:
        net: In evaluation mode, as a whole.

    Raises:
        ValueError: It is in training mode.
    """
    if any(module.training for module in net.modules()):
        raise ValueError("a network in training mode has no fixed batch norm")
    try:
        graph = _Tracer().trace(net)
    except Exception:  # torch.fx raises many types; without folding, the network is right and slower
        return net
    parts: dict[str, Any] = {
        str(node.target): attrgetter(str(node.target))(net)
        for node in graph.nodes
        if node.op in ("call_module", "get_attr")
    }
    times = Counter(str(node.target) for node in graph.nodes)
    for node in list(graph.nodes):
        before = node.args[0] if node.args else None
        if not (node.op == "call_module" and isinstance(before, fx.Node) and before.op == "call_module"):
            continue
        convolution, norm = str(before.target), parts[str(node.target)]
        if (
            _is_plain(parts[convolution], nn.Conv2d, Conv3x3)
            and _is_plain(norm, nn.BatchNorm2d)
            and norm.running_mean is not None
            and len(before.users) == times[convolution] == 1
        ):
            parts[convolution] = fuse_conv_bn_eval(parts[convolution], norm)
            node.replace_all_uses_with(before)
            graph.erase_node(node)
    return fx.GraphModule(parts, graph).eval()


def _is_plain(module: nn.Module, *kinds: type) -> bool:
    """Whether a layer computes what its kind does: not one that is derived from it, or that hooks change."""
    return type(module) in kinds and not module._forward_hooks and not module._forward_pre_hooks


def is_folded(features: nn.Module) -> bool:
    """Whether there is batch norm, and all of it is the identity: mean 0, variance 1, scale 1.

    So it is in weights of a quantised or a deployed model. In training such a layer would normalise by the batch, and
    what the weights have learned would be lost with the first step: its scale and shift are 1 and 0, not those of the
    layer that was folded.
    """
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
