"""A trained classifier as files that need no pickle: a pt2 program in an MLflow model, and safetensors."""

import importlib.metadata
import json
import shutil
import tempfile
from pathlib import Path

import mlflow
import numpy as np
import safetensors.torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Run
from mlflow.models import Model
from numpy.typing import NDArray

from tp1.data.image_digests import TRAINED_ON
from tp1.models.classifier import ImageModel
from tp1.models.weights import storable

# Packages that loading and serving the model needs; naming them saves MLflow a search of 10 s.
REQUIREMENTS = ("mlflow", "torch", "numpy")
MODEL = "model"  # its name in the tracking store
LARGEST_EXAMPLE = 1_000_000  # bytes of an example that is kept: two images of 400x400 pixels
CONTEXT_TAGS = ("mlflow.user", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit")


def save_classifier(
    classifier: ImageModel,
    example: NDArray[np.uint8],
    trained_on: NDArray[np.uint64] | None,
    dataset: str,
    image_size: int,
    run_id: str,
    folder: Path,
) -> None:
    """Write the classifier as an MLflow model, ready for :func:`send_model`; no server is asked.

    The model is a pt2 program of :meth:`~tp1.models.classifier.ImageModel.as_served`: uint8 images (N, H, W, 3), any
    N, to float32 probabilities (N, classes). The weights are stored beside it as
    ``extra_files/weights.safetensors``, the class names in the model's metadata. The classifier is left on the CPU in
    evaluation mode.

    Args:
        example: Two or more images, uint8 (N, H, W, 3): an example of one would fix N to 1.
        trained_on: Digests of the training images. Later they tell on which images of a data set that has grown this
            model can be compared with another one. None: they are not known.
        dataset: The name of the data set that it was trained on.
        image_size: Pixels per side that the network inside takes.
        run_id: ID of the run that trained it.
        folder: The folder to create.
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
    with tempfile.TemporaryDirectory() as beside:
        weights = Path(beside) / "weights.safetensors"
        save_weights(classifier, weights)
        extra = [weights]
        if trained_on is not None:
            extra.append(Path(beside) / Path(TRAINED_ON).name)
            np.save(extra[-1], np.sort(trained_on))
        mlflow.pytorch.save_model(
            classifier.as_served(),
            str(folder),
            mlflow_model=Model(run_id=run_id, metadata=metadata),
            serialization_format="pt2",
            input_example=example,
            extra_files=[str(path) for path in extra],
            pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in REQUIREMENTS],
        )
    for cache in list(folder.rglob("__pycache__")):
        shutil.rmtree(cache)
    if example.nbytes > LARGEST_EXAMPLE:
        _remove_example(folder)


def _remove_example(folder: Path) -> None:
    """Remove the example of a saved model: as JSON, photographs take 10 bytes for each of their values, twice."""
    saved = Model.load(str(folder))
    for key in ("artifact_path", "serving_input_path"):
        if name := (saved.saved_input_example_info or {}).get(key):
            (folder / name).unlink(missing_ok=True)
    saved.saved_input_example_info = None  # type: ignore[assignment]  # its type forgets that there may be none
    saved.save(str(folder / "MLmodel"))


def send_model(client: MlflowClient, run_id: str, folder: Path) -> str:
    """Log a saved model as ``model`` of a run, and return its ID.

    Repeated calls log it only once; a model that an earlier call left unfinished is finished.
    """
    run = client.get_run(run_id)
    known = _models_of(client, run)
    if known:
        logged = known[0]
    else:
        # As MLflow's own log_model does: the parameters, and tags with user and source.
        tags = {key: value for key, value in run.data.tags.items() if key in CONTEXT_TAGS}
        logged = client.create_logged_model(run.info.experiment_id, MODEL, run_id, tags, dict(run.data.params))
    model_id: str = logged.model_id
    outputs = run.outputs.model_outputs if run.outputs else []
    if model_id not in [output.model_id for output in outputs]:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
    if logged.status != LoggedModelStatus.READY:
        saved = Model.load(str(folder))
        saved.model_id = saved.model_uuid = model_id
        saved.artifact_path = logged.artifact_location
        partial = folder.with_name(f".{folder.name}.MLmodel")  # the process may be killed while writing
        saved.save(str(partial))
        partial.replace(folder / "MLmodel")
        client.log_model_artifacts(model_id, str(folder))
        client.finalize_logged_model(model_id, LoggedModelStatus.READY)
    # There are several if the request to create one was repeated, or carried out after its sender was gone.
    for surplus in _models_of(client, run)[1:]:
        client.delete_logged_model(surplus.model_id)
    return model_id


def _models_of(client: MlflowClient, run: Run) -> list[LoggedModel]:
    """The models that the run has logged as ``model``: a finished one first, and the oldest."""
    found = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    models = [model for model in found if model.name == MODEL]
    return sorted(models, key=lambda model: (model.status != LoggedModelStatus.READY, model.creation_timestamp))


def save_weights(classifier: ImageModel, path: Path) -> None:
    """Write the classifier's state (weights, batch-norm statistics, normalisation) and class names to safetensors."""
    state = storable(classifier.state_dict())
    # Written here, because safetensors' own error for a full disk is not an OSError.
    path.write_bytes(safetensors.torch.save(state, {"classes": json.dumps(classifier.classes)}))
