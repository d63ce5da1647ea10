"""What a model looked at: for each pixel, how much it speaks for the predicted class.

Occlusion covers parts of the image and asks the model again, so that it works for any program. Grad-CAM needs the
gradient of a class's score with respect to the last feature maps; it runs the stored program node by node to get there,
since that is a graph without layers. (Captum's Grad-CAM is attached to a layer, and there is none.)

Source: Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks, section 4.2 (occlusion);
Selvaraju et al. 2017, Grad-CAM, equations 1 and 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tp1.base.errors import TP1Error, why
from tp1.base.names import printable
from tp1.data.image_files import FoundImage
from tp1.registry.predictor import Predictor

if TYPE_CHECKING:
    import torch

METHODS = ("occlusion", "gradcam")
WINDOW, STRIDE = 1 / 4, 1 / 8  # of the image's sides: what is covered at once, and by how much it then moves
FROZEN = "wrap_with_set_grad_enabled"  # the target of a node that is a part without gradients
SOFTMAX = ("aten.softmax.int", "aten._softmax.default")


class ExplainError(TP1Error):
    """An image could be read, and not be explained."""


@dataclass(frozen=True)
class Explainer:
    """Explains single images by a method of :data:`METHODS`.

    Raises:
        TP1Error: Grad-CAM cannot be computed for the program.
    """

    predictor: Predictor
    method: str

    def __post_init__(self) -> None:
        if self.method == "gradcam":
            _runner(self.predictor)

    def __call__(self, image: FoundImage, name: str) -> NDArray[np.float32]:
        """Return what :func:`explain` does for an image, in the size that the model takes.

        Args:
            name: The class.

        Raises:
            ExplainError: The method fails on the image.
            Exception: The image cannot be read.
        """
        height, width, _ = self.predictor.image_shape
        pixels = np.asarray(image.read_at((width, height))[0])
        try:
            return explain(self.predictor, pixels, self.predictor.classes.index(name), self.method)
        except Exception as error:  # torch raises many types
            raise ExplainError(f"explain={self.method} failed on {printable(image.name)}: {why(error)}.") from error


def explain(predictor: Predictor, image: NDArray[np.uint8], label: int, method: str) -> NDArray[np.float32]:
    """Return how much each pixel speaks for a class: float32 (H, W) from 0 to 1, the largest; all 0 if none does.

    Args:
        image: uint8 (H, W, 3), as the model takes it.
        label: The class's number.
        method: One of :data:`METHODS`.

    Raises:
        TP1Error: Grad-CAM cannot be computed for this program.
    """
    found = occlusion(predictor, image, label) if method == "occlusion" else grad_cam(predictor, image, label)
    positive = np.maximum(found, 0)
    largest = positive.max()
    return positive / largest if largest > 0 else positive


def occlusion(predictor: Predictor, image: NDArray[np.uint8], label: int) -> NDArray[np.float32]:
    """Return by how much a class's probability falls where a window covers the image with its mean colour: (H, W).

    Each pixel has the mean over the windows that cover it.
    """
    height, width, _ = image.shape
    windows = [(rows, columns) for rows in _spans(height) for columns in _spans(width)]
    covered = np.repeat(image[None], len(windows) + 1, axis=0)  # the last one stays as it is
    colour = np.rint(image.mean(axis=(0, 1))).astype(np.uint8)
    for one, (rows, columns) in zip(covered, windows, strict=False):
        one[rows, columns] = colour
    probabilities = predictor.probabilities(covered)[:, label]
    total, times = np.zeros((2, height, width), np.float32)
    for (rows, columns), probability in zip(windows, probabilities, strict=False):
        total[rows, columns] += probabilities[-1] - probability
        times[rows, columns] += 1
    return total / times


def _spans(side: int) -> list[slice]:
    """Windows along a side that together cover all of it."""
    window, stride = ceil(side * WINDOW), ceil(side * STRIDE)
    starts = [*range(0, side - window, stride), side - window]
    return [slice(start, start + window) for start in starts]


def grad_cam(predictor: Predictor, image: NDArray[np.uint8], label: int) -> NDArray[np.float32]:
    """Return Grad-CAM's map of a class before the softmax, brought to the image's size: (H, W).

    The feature maps are those of the last convolution or, where the convolutions are within a frozen part that lets no
    gradient through, what comes out of it. Of several such parts the maps are added.

    Raises:
        TP1Error: The program has no feature maps, or does not end with a softmax.
    """
    import torch
    import torch.nn.functional as F

    runner, kept = _runner(predictor)
    with torch.enable_grad():
        runner.run(torch.from_numpy(image[None].copy()))
        score = kept.logits[0, label]
        gradients = torch.autograd.grad(score, kept.maps)
    height, width, _ = image.shape
    total = torch.zeros(1, 1, height, width)
    for features, gradient in zip(kept.maps, gradients, strict=True):
        weights = gradient.float().mean(dim=(2, 3), keepdim=True)
        cam = (weights * features.detach().float()).sum(dim=1, keepdim=True)
        total += F.interpolate(cam, (height, width), mode="bilinear")
    found: NDArray[np.float32] = total[0, 0].numpy()
    return found


@dataclass
class _Kept:
    """What a run of a program leaves behind for its gradient."""

    maps: list[torch.Tensor]
    logits: torch.Tensor


def _runner(predictor: Predictor) -> tuple[Any, _Kept]:
    """Return an interpreter of the program that keeps its last feature maps and its logits."""
    import torch
    from torch.fx import GraphModule, Interpreter

    program = predictor.program
    chosen, logits = _nodes(program) if isinstance(program, GraphModule) else ([], None)
    if not chosen or logits is None:
        raise TP1Error(
            "explain=gradcam cannot explain this model: it has no feature maps that a gradient reaches. Give "
            "explain=occlusion, which works for every model."
        )
    kept = _Kept([], torch.empty(0))

    class Keeping(Interpreter):
        def run_node(self, n: torch.fx.Node) -> Any:
            result = super().run_node(n)
            if n is logits:
                kept.logits = result
            if n in chosen:
                leaf = result.detach().requires_grad_()
                kept.maps.append(leaf)
                return leaf.clone()  # what follows may change it in place
            return result

    return Keeping(program), kept


def _nodes(program: Any) -> tuple[list[torch.fx.Node], torch.fx.Node | None]:
    """Return the nodes whose results are the last feature maps, and the node before the softmax; none where missing."""
    output = next(node for node in program.graph.nodes if node.op == "output")
    last = output.all_input_nodes[0] if output.all_input_nodes else None
    if last is None or str(last.target) not in SOFTMAX:
        return [], None
    convolutions = [node for node in program.graph.nodes if _is_maps(node) and "conv2d" in str(node.target)]
    if convolutions:
        return convolutions[-1:], last.args[0]
    computed: set[torch.fx.Node] = set()  # from a frozen part's results
    for node in program.graph.nodes:
        if FROZEN in str(node.target) or computed & {*node.all_input_nodes}:
            computed.add(node)
    maps = [node for node in program.graph.nodes if node in computed and _is_maps(node)]
    return [node for node in maps if not any(_is_maps(user) for user in node.users)], last.args[0]


def _is_maps(node: torch.fx.Node) -> bool:
    """Whether a node computes feature maps: floating-point (N, C, h, w), more than one pixel large."""
    value = node.meta.get("val")
    shape = getattr(value, "shape", ())
    if value is None or node.op != "call_function" or len(shape) != 4 or not value.dtype.is_floating_point:
        return False
    return all(isinstance(side, int) and side > 1 for side in shape[2:])
