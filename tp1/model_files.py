"""A trained classifier as files that need no pickle: a pt2 program in an MLflow model, and safetensors."""

import importlib.metadata
import json
import tempfile
from pathlib import Path

import mlflow
import numpy as np
import safetensors.torch
from mlflow.models.model import ModelInfo
from numpy.typing import NDArray

from tp1.classifier import ImageModel

# What loading and serving the model takes; naming it spares MLflow a search of 10 s.
REQUIREMENTS = ("mlflow", "torch", "numpy")


def log_classifier(classifier: ImageModel, example: NDArray[np.uint8], dataset: str, image_size: int) -> ModelInfo:
    """Log the classifier to the active run as MLflow model ``model``.

    The model is a pt2 program that takes uint8 images (N, H, W, 3), any N, and returns float32
    probabilities (N, classes). The weights lie beside it as ``extra_files/weights.safetensors``, and the class names
    in the model's metadata. The classifier is left on the CPU in evaluation mode.

    Args:
        example: Two or more images, uint8 (N, H, W, 3): an example of one would fix N to 1.
        dataset: The name of the data set that it was trained on.
        image_size: Pixels per side that the network inside sees.
    """
    if len(example) < 2:
        raise ValueError("the example needs two images or more: with one, the exported batch size is fixed")
    classifier.cpu().eval()
    height, width = example.shape[1:3]
    metadata = {
        "classes": list(classifier.classes),
        "dataset": dataset,
        "image_shape": [height, width, 3],
        "network_image_size": image_size,
    }
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        save_weights(classifier, weights)
        info: ModelInfo = mlflow.pytorch.log_model(
            classifier,
            name="model",
            serialization_format="pt2",
            input_example=example,
            extra_files=[str(weights)],
            metadata=metadata,
            pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in REQUIREMENTS],
        )
        return info


def save_weights(classifier: ImageModel, path: Path) -> None:
    """Write the classifier's state (weights, batch-norm statistics, normalisation) and class names to safetensors."""
    state = {name: value.detach().cpu().contiguous() for name, value in classifier.state_dict().items()}
    safetensors.torch.save_file(state, path, {"classes": json.dumps(classifier.classes)})
