"""What links the run of an evaluation to the models that it examines and the images that it examines them on."""

from collections.abc import Mapping, Sequence

from mlflow import MlflowClient
from mlflow.entities import DatasetInput, LoggedModelInput, Metric

from tp1.tracking.delivery import CHUNK
from tp1.tracking.every_run import milliseconds
from tp1.tracking.tool_run import ToolRun


def log_inputs(run: ToolRun, images: DatasetInput, model_ids: Sequence[str]) -> None:
    """Log images and models as inputs of a run, as ``mlflow.models.evaluate`` does.

    Args:
        model_ids: Of models in the run's tracking store.
    """
    models = [LoggedModelInput(model_id) for model_id in dict.fromkeys(model_ids)]
    MlflowClient().log_inputs(run.info.run_id, [images], models or None)


def log_linked(run: ToolRun, values: Mapping[str, float], model_id: str, images: DatasetInput | None) -> None:
    """Log final metrics of a run that are also those of a model, measured on a data set.

    Args:
        model_id: Of a model in the run's tracking store; empty for none.
        images: The data set; None for only a part of one.
    """
    run_id, time = run.info.run_id, milliseconds()
    metrics = [
        Metric(
            name,
            value,
            time,
            0,
            model_id=model_id or None,
            dataset_name=images.dataset.name if images else None,
            dataset_digest=images.dataset.digest if images else None,
            run_id=run_id,
        )
        for name, value in values.items()
    ]
    for start in range(0, len(metrics), CHUNK):
        MlflowClient().log_batch(run_id, metrics=metrics[start : start + CHUNK])
