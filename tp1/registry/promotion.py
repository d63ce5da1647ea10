"""Choose the best tracked run on a data set, and make it champion if it beats the current champion.

The candidate comes from the configuration with the highest mean validation accuracy over its seeds; of its runs, it is
the one with the highest validation accuracy. It becomes champion if there is none yet, or if the 95 % bootstrap
interval of its gain in accuracy, on the same validation images, lies above zero. Test images play no part.
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

ROUNDS = 20  # timed calls, to measure a model's speed


@dataclass(frozen=True)
class Candidate:
    """A run and its model, chosen for promotion.

    Attributes:
        run: The best run of its group that has its model in this store.
        passed_over: Better groups (label and mean validation accuracy), none of whose runs has its model in this store.
    """

    group: Group
    run: TrackedRun
    model: StoredModel
    passed_over: tuple[str, ...]


@dataclass(frozen=True)
class Decision:
    """The outcome of a promotion.

    Attributes:
        version: The candidate's registered version.
        is_champion: Whether it is champion now; else it is challenger.
        verdict: The reason, as text for the user.
    """

    version: Version
    is_champion: bool
    verdict: str


def choose_candidate(groups: Sequence[Group]) -> Candidate:
    """Choose the best run that has its model in this store.

    Args:
        groups: Groups of runs on one data set.

    Raises:
        TP1Error: No run has its model in this store.
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
    """Compare the candidate with the champion, register it, and make it champion or challenger.

    A candidate that already is the champion is left as it is.

    Args:
        data: The data set on whose validation images the two are compared.
        force: Reason to make the candidate champion whatever the comparison shows; None: the rule decides.

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
        if wins:  # for rollback; else the tag keeps its value from an earlier time as champion
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
        # The alias is set last, so that it only ever points to a complete version.
        (make_champion if wins else make_challenger)(version)
    return Decision(version, wins, verdict)


def rollback(name: str) -> tuple[Version, Version]:
    """Make the champion's predecessor champion again; return the replaced version, then the new champion.

    Raises:
        TP1Error: There is no champion, or its predecessor does not exist.
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
    """Predict labelled images; return a table with the columns of ``predictions.parquet``.

    Raises:
        TP1Error: The model and the data have different classes.
    """
    if tuple(predictor.classes) != tuple(classes):
        raise TP1Error(f"the model knows the classes {list(predictor.classes)}, and the data has {list(classes)}.")
    probabilities = predictor.probabilities(part.images)
    return prediction_table(part.index, part.labels, probabilities, classes)


def measure_speed(predictor: Predictor, images: NDArray[np.uint8]) -> Speed:
    """Measure prediction speed on the CPU: medians over :data:`ROUNDS` calls, after one warm-up call."""
    from tp1.training.devices import choose_device, describe  # here, because it imports torch
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
    """Compare the candidate with the champion on the validation images."""
    tags = champion.tags
    digests = tags.get("tp1.data_digest", ""), tags.get("tp1.split_digest", "")
    _check_digests(f"the champion, {champion},", *digests, data)
    return compare_predictions(*(predictions(one, data.val, data.classes) for one in (predictor, its)))


def _tags(candidate: Candidate, champion: Version | None, paired: Paired | None, data: ImageData) -> dict[str, str]:
    """Return the version's tags: who decided when, on which run and data, against which version, with which figures."""
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
