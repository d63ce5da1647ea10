"""Evaluations in a tracking store, and the cards of registered models that show them."""

from dataclasses import replace

from mlflow import MlflowClient
from mlflow.entities import Run

from tp1.base.digests import DIGESTS_TAG, from_tag
from tp1.base.names import printable, whole_number
from tp1.registry.copied import batches, pages
from tp1.registry.examined_run import EVALUATED_TAG, IMAGES_TAG, MODEL_ID_TAG, PART_TAG, PROGRAM_TAG, RUN_NAME_TAG
from tp1.registry.predictor import LOGGED_PROGRAM
from tp1.registry.versions import CHAMPION, Version, describe, find_version, fitting, registered_name
from tp1.report.evaluations import Evaluated, is_examined, newest_of_each, with_examined

PAGE = 500  # experiments in a request
WANTED = "tags.`tp1.experiment` = 'evaluate' and attributes.status = 'FINISHED'"
NEEDED = ("eval/accuracy", "eval/accuracy_low", "eval/accuracy_high", "eval/ece", "eval/brier")


def find_evaluations(uri: str | None = None, dataset: str | None = None) -> list[Evaluated]:
    """Return the newest evaluation of each model on the same images, by data set and accuracy.

    Args:
        uri: URI of the tracking store; None for the one in use.
        dataset: Only on a data set of this name.
    """
    client = MlflowClient(uri, uri)
    runs: list[Run] = []
    for ids in batches((one.experiment_id for one in pages(client.search_experiments)), PAGE):
        runs += pages(client.search_runs, experiment_ids=ids, filter_string=WANTED)
    runs = [run for run in runs if dataset is None or run.data.tags.get("tp1.dataset") == dataset]
    whole = [run for run in runs if all(name in run.data.metrics for name in NEEDED)]
    datasets = {run.data.tags.get("tp1.dataset", "") for run in whole}
    champions = {name: find_version(registered_name(name), CHAMPION, uri) for name in datasets}
    evaluations = []
    for run in whole:
        tags = run.data.tags
        one = evaluated(tags, dict(run.data.metrics), run.info.start_time)
        best = champions[tags.get("tp1.dataset", "")]
        evaluations.append(replace(one, champion=best is not None and _is_of(one, tags.get(MODEL_ID_TAG, ""), best)))
    return newest_of_each(evaluations)


def _is_of(one: Evaluated, model_id: str, version: Version) -> bool:
    """Whether an evaluation is of a version's model: a downloaded one has no id, and the same program."""
    recorded = from_tag(version.tags.get(DIGESTS_TAG)).get(LOGGED_PROGRAM)
    return version.model_id == model_id or (recorded is not None and recorded == one.program)


def evaluated(tags: dict[str, str], metrics: dict[str, float], start_time: int) -> Evaluated:
    """Return an evaluation from the tags and metrics of its run.

    Args:
        start_time: Milliseconds since 1970, UTC.
    """
    return Evaluated(
        printable(", ".join(filter(None, (tags.get(RUN_NAME_TAG), tags.get(EVALUATED_TAG))))),
        tags.get(PROGRAM_TAG, ""),
        printable(tags.get("tp1.dataset", "")),
        tags.get("tp1.data_digest", ""),
        tags.get("tp1.split_digest", ""),
        printable(tags.get(PART_TAG, "")),
        whole_number(tags.get(IMAGES_TAG, "")) or 0,
        start_time,
        metrics,
    )


def examined_card(card: str, program: str, on: tuple[str, str, str], own: Evaluated | None = None) -> str:
    """Return a model's card with what evaluations on its own data set's test images have found; as it is without any.

    Args:
        program: SHA-256 of the model's program.
        on: Name, data digest and split digest of the data set that it was trained on.
        own: An evaluation that is not finished yet.
    """
    found = [one for one in find_evaluations(dataset=on[0]) if one.on[:4] == (*on, "test")]
    mine = newest_of_each([one for one in [*found, *([own] if own else [])] if one.program == program])
    return with_examined(card, mine[-1], found) if mine else card


def update_card(version: Version, program: str, own: Evaluated) -> bool:
    """Show an evaluation on a version's own test images in its card; arguments as for :func:`examined_card`.

    Returns:
        Whether the card, which has a greatest length, has room for it.
    """
    card = examined_card(version.description, program, own.on[:3], own)
    if card != version.description:
        describe(version, card, {})
    return is_examined(fitting(card))
