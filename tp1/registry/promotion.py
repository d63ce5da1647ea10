"""From tracked runs to the champion of a data set: which run is the best, and whether it beats the champion.

Rule: the configuration with the highest mean validation accuracy over its seeds, and of its runs the one with the
highest. It becomes champion where there is none, or where the difference of accuracies on the same validation images
has a 95 % bootstrap interval above zero. Test images play no part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tp1.base.digests import DIGESTS_TAG, as_tag, file_digests
from tp1.base.errors import TP1Error
from tp1.data.dataset import ImageData, Part
from tp1.registry.predictor import LOGGED_PROGRAM, Predictor, load_logged
from tp1.registry.stored_models import StoredModel, fetch, find_model_of_run, stored
from tp1.registry.versions import (
    CHALLENGER,
    CHAMPION,
    Version,
    describe,
    find_version,
    make_challenger,
    make_champion,
    now,
    promotion_lock,
    register,
    registered_name,
    who,
)
from tp1.report.comparison import Group
from tp1.report.model_card import Speed, model_card
from tp1.report.paired import Paired, compare_predictions
from tp1.store.records import make_record
from tp1.store.runs import TrackedRun
from tp1.training.evaluation import prediction_table

ROUNDS = 20  # of measuring a model's speed


@dataclass(frozen=True)
class Candidate:
    """What is to be promoted.

    Attributes:
        run: The best of its group.
        passed_over: Better groups whose runs have no model here.
    """

    group: Group
    run: TrackedRun
    model: StoredModel
    passed_over: tuple[str, ...]


@dataclass(frozen=True)
class Decision:
    """What came of a promotion.

    Attributes:
        verdict: Why, in a sentence.
    """

    version: Version
    is_champion: bool
    verdict: str


def choose_candidate(groups: Sequence[Group]) -> Candidate:
    """The best run that has its model.

    Args:
        groups: Of one data set.

    Raises:
        TP1Error: No run has a model here.
    """
    passed_over: list[str] = []
    for group in sorted(groups, key=lambda group: -group.mean("best/val_accuracy")):
        for run in sorted(group.runs, key=lambda run: -run.metrics["best/val_accuracy"]):
            if not run.record:
                return Candidate(group, run, find_model_of_run(run.run_id), tuple(passed_over))
        passed_over.append(f"{group.label} ({group.mean('best/val_accuracy'):.4f})")
    raise TP1Error(
        f"no run of {', '.join(passed_over[:3]) or 'this data set'} has its model here: records carry none. Train one."
    )


def promote(candidate: Candidate, data: ImageData, force: str | None) -> Decision:
    """Register the candidate, compare it with the champion, and say which of the two is champion now.

    Args:
        data: Whose validation images are compared on.
        force: Why the candidate is to be champion whatever the comparison says; None: the rule decides.

    Raises:
        TP1Error: Digests of data, split or files differ, or a model cannot be read.
    """
    name = registered_name(data.name)
    run = candidate.run
    _check_digests(run.name, run.data_digest, run.split_digest, data)
    with promotion_lock(name), TemporaryDirectory() as folder:
        champion = find_version(name, CHAMPION)
        if champion is not None and champion.model_id == candidate.model.model_id:
            return Decision(champion, True, "It is the champion already.")
        path = fetch(candidate.model, Path(folder) / "candidate")
        predictor = load_logged(path, str(candidate.model))
        paired = None
        if champion is not None:
            there = fetch(stored(champion), Path(folder) / "champion")
            paired = _compare(predictor, champion, load_logged(there, str(champion)), data)
        by_rule = paired is None or paired.low > 0
        wins = by_rule or force is not None
        verdict = _verdict(champion, paired, force, wins)
        version = register(name, run.run_id, candidate.model.model_id)
        tags = _tags(candidate, champion, paired, data) | {
            "tp1.verdict": CHAMPION if wins else CHALLENGER,
            "tp1.forced": "" if by_rule else force or "",
            DIGESTS_TAG: as_tag(candidate.model.sha256 or file_digests(path)),
        }
        if wins:  # for rollback; a version that was champion once keeps what it replaced then
            tags["tp1.replaced"] = str(champion.number) if champion is not None else ""
        card = model_card(
            str(version),
            make_record(run.run_id),
            candidate.group.experiment,
            predictor.image_shape,
            (path / LOGGED_PROGRAM).stat().st_size,
            measure_speed(predictor, data.val.images),
            f"{_seeds(candidate)} By {tags['tp1.decided_by']}, {tags['tp1.decided_at']}. {verdict}",
        )
        describe(version, card, tags)
        # Last, when all else is there: what an alias points to is whole.
        (make_champion if wins else make_challenger)(version)
    return Decision(version, wins, verdict)


def rollback(name: str) -> tuple[Version, Version]:
    """Make the champion's predecessor champion again; return the two, the one that steps back first.

    Raises:
        TP1Error: There is no champion, or none before it.
    """
    with promotion_lock(name):
        champion = find_version(name, CHAMPION)
        if champion is None:
            raise TP1Error(f"{name} has no champion: mlflow run . -e promote makes one.")
        before = champion.tags.get("tp1.replaced", "")
        former = find_version(name, int(before)) if before else None
        if former is None:
            gone = f"version {before}, which was deleted" if before else "none"
            raise TP1Error(f"there is nothing to roll back to: before {champion} there was {gone}.")
        note = f"Rolled back to version {former.number} by {who()}, {now()}."
        describe(champion, f"**{note}**\n\n{champion.description}", {"tp1.rolled_back": note})
        make_champion(former)
    return champion, former


def predictions(predictor: Predictor, part: Part, classes: Sequence[str]) -> pd.DataFrame:
    """What a model makes of labelled images, as ``predictions.parquet`` has it.

    Raises:
        TP1Error: The model's classes are not the data's.
    """
    if tuple(predictor.classes) != tuple(classes):
        raise TP1Error(f"the model knows the classes {list(predictor.classes)}, and the data has {list(classes)}.")
    probabilities = predictor.probabilities(part.images)
    return prediction_table(part.index, part.labels, probabilities, classes)


def measure_speed(predictor: Predictor, images: NDArray[np.uint8]) -> Speed:
    """Medians over :data:`ROUNDS` calls, after a warm-up."""
    from tp1.training.devices import choose_device, describe  # here, for torch comes with it
    from tp1.training.inference import EVALUATION_BATCH

    batch = np.resize(images, (EVALUATION_BATCH, *images.shape[1:]))
    seconds = {}
    for count in (1, EVALUATION_BATCH):
        times = []
        for _ in range(ROUNDS + 1):
            began = perf_counter()
            predictor.probabilities(batch[:count])
            times.append(perf_counter() - began)
        seconds[count] = median(times[1:])
    return Speed(
        image_ms=1000 * seconds[1],
        images_per_second=EVALUATION_BATCH / seconds[EVALUATION_BATCH],
        batch=EVALUATION_BATCH,
        processor=describe(choose_device("cpu")),
    )


def _check_digests(what: str, data_digest: str, split_digest: str, data: ImageData) -> None:
    if (data_digest, split_digest) != (data.digest, data.split_digest):
        raise TP1Error(
            f"{what} was trained on other data or another split (digests {data_digest} {split_digest}) than "
            f"{data.name} in {data.origin} ({data.digest} {data.split_digest}): they cannot be compared."
        )


def _compare(predictor: Predictor, champion: Version, its: Predictor, data: ImageData) -> Paired:
    """The candidate against the champion on the validation images."""
    tags = champion.tags
    digests = tags.get("tp1.data_digest", ""), tags.get("tp1.split_digest", "")
    _check_digests(f"the champion, {champion},", *digests, data)
    return compare_predictions(*(predictions(one, data.val, data.classes) for one in (predictor, its)))


def _tags(candidate: Candidate, champion: Version | None, paired: Paired | None, data: ImageData) -> dict[str, str]:
    """Who decided when, from which run, against which version, with which numbers."""
    tags = {
        "tp1.decided_by": who(),
        "tp1.decided_at": now(),
        "tp1.run_id": candidate.run.run_id,
        "tp1.against": str(champion.number) if champion else "",
        "tp1.val_accuracy": f"{candidate.run.metrics['best/val_accuracy']:.4f}",
        "tp1.data_digest": data.digest,
        "tp1.split_digest": data.split_digest,
    }
    if paired is not None:
        tags["tp1.difference"] = f"{paired.difference:+.4f}"
        tags["tp1.difference_low"] = f"{paired.low:+.4f}"
        tags["tp1.difference_high"] = f"{paired.high:+.4f}"
    return tags


def _verdict(champion: Version | None, paired: Paired | None, force: str | None, wins: bool) -> str:
    if champion is None or paired is None:
        return "It is the first champion."
    compared = (
        f"Against {champion} on the same {paired.images:,} validation images: {paired.first_accuracy:.4f} and "
        f"{paired.second_accuracy:.4f}, difference {paired.difference:+.4f}, 95 % bootstrap interval "
        f"{paired.low:+.4f} to {paired.high:+.4f}."
    )
    if paired.low > 0:
        return f"{compared} It is the champion now."
    if wins:
        return f"{compared} It is the champion now by force: {force}"
    return f"{compared} It stays challenger: the lower bound is {-paired.low:.4f} short of being above zero."


def _seeds(candidate: Candidate) -> str:
    group = candidate.group
    sd = group.sd("best/val_accuracy")
    spread = f" ± {sd:.4f}" if sd is not None else ""
    return (
        f"{group.label}: mean validation accuracy {group.mean('best/val_accuracy'):.4f}{spread} over "
        f"{len(group.runs)} seed{'s' * (len(group.runs) != 1)}; this is the best of them."
    )
