"""What the run of an evaluation has in its tracking store: tags, inputs and metrics, linked to models and images."""

from collections.abc import Mapping, Sequence

from tp1.base.names import printable
from tp1.registry.examined_data import ExaminedData
from tp1.registry.examined_model import ExaminedModel
from tp1.report.paired import Paired
from tp1.store.records import CORRUPTIONS_TAG
from tp1.tracking.evaluation_run import log_inputs, log_linked
from tp1.tracking.tool_run import ToolRun

# Tags of an evaluation's run: which model, by its name, its content and its ids, and which part of the data set.
EVALUATED_TAG = "tp1.evaluated"
RUN_NAME_TAG = "tp1.evaluated_name"
PROGRAM_TAG = "tp1.evaluated_program"
MODEL_ID_TAG = "tp1.evaluated_model"
RUN_ID_TAG = "tp1.evaluated_run"
PART_TAG = "tp1.evaluated_part"
IMAGES_TAG = "tp1.evaluated_images"


def log_examined(
    run: ToolRun,
    models: Sequence[ExaminedModel],
    data: ExaminedData,
    images: int,
    metrics: Mapping[str, float],
    kinds: Sequence[str],
) -> dict[str, str]:
    """Log which models were examined on which images, and the metrics of the first model; return the run's tags.

    Args:
        images: How many of the data's images were examined.
        kinds: The kinds of corruptions that were examined.
    """
    first = models[0]
    tags = {
        "tp1.dataset": data.name,
        "tp1.data_digest": data.digest,
        "tp1.split_digest": data.split_digest,
        EVALUATED_TAG: printable(first.title),
        RUN_NAME_TAG: first.run_name,
        PROGRAM_TAG: first.sha256,
        MODEL_ID_TAG: first.model_id,
        RUN_ID_TAG: first.run_id,
        PART_TAG: data.part,
        IMAGES_TAG: str(images),
        CORRUPTIONS_TAG: ",".join(kinds),
    }
    for name, value in tags.items():
        run.tag(name, value)
    log_inputs(run, data.input, [model.model_id for model in models if model.model_id])
    # Metrics name the data set only if they are of all its images.
    log_linked(run, metrics, first.model_id, data.input if images == len(data.images) else None)
    return tags


def paired_metrics(paired: Paired) -> dict[str, float]:
    """The comparison with another model, as metrics: the first model's accuracy less the other's."""
    return {
        "paired/difference": paired.difference,
        "paired/difference_low": paired.low,
        "paired/difference_high": paired.high,
        "paired/p_value": paired.p_value,
    }
