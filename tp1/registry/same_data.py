"""Whether a model is of the data set at hand, or of another one whose folder has the same name."""

from collections.abc import Sequence

import mlflow

from tp1.base.errors import TP1Error
from tp1.base.names import some, user_path
from tp1.data.image_folder import ImageFolder
from tp1.data.sources import is_path
from tp1.registry.stored_models import StoredModel

MOST_NAMED = 5  # classes in a message; the others are counted


def check_same_classes(model: object, its: Sequence[str], classes: Sequence[str], where: str) -> None:
    """Raise TP1Error if a model knows other classes than the data set ``where`` has."""
    if tuple(its) != tuple(classes):
        raise TP1Error(
            f"{model} knows other classes ({some(its, MOST_NAMED)}) than {where} has ({some(classes, MOST_NAMED)}): it "
            "is of another data set of the same name, whose folder could be renamed."
        )


def check_path(model: StoredModel, dataset: str) -> None:
    """Raise TP1Error if ``dataset`` is the path of a folder that has other classes than a model knows.

    A path where there is nothing (any more) stands for its name alone, as does the name of a data set.

    Raises:
        TP1Error: Also if the folder has no known layout, or the model's files cannot be read.
    """
    root = user_path(dataset)
    if not is_path(dataset) or not root.is_dir():
        return
    root = root.resolve()
    metadata = mlflow.models.get_model_info(f"models:/{model.model_id}").metadata or {}
    if "classes" in metadata:
        classes = ImageFolder(root.name, root).layout().classes
        check_same_classes(model, metadata["classes"], classes, f"{root.name} in {root}")
