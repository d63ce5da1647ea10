"""Choose the best tracked run on a data set, and make it champion if it beats the current champion.

The candidate comes from the configuration with the highest mean validation accuracy over its seeds; of its runs, it is
the one with the highest validation accuracy. Only runs on the data at hand compete. It becomes champion if there is
none yet, or if it beats the champion (:mod:`tp1.registry.contest`). Test images play no part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from tp1.base.digests import DIGESTS_TAG, as_tag, digest, file_digests
from tp1.base.errors import TP1Error
from tp1.base.progress import say
from tp1.data.dataset import ImageData
from tp1.data.stored import ImageArray
from tp1.registry.contest import LEVEL, Contest, DataAt, compete
from tp1.registry.evaluations import examined_card
from tp1.registry.lock import promotion_lock
from tp1.registry.predictor import LOGGED_PROGRAM, Predictor, load_logged
from tp1.registry.requirements import Requirement, meet
from tp1.registry.same_data import check_path
from tp1.registry.stored_models import GoneError, StoredModel, fetch, find_model_of_run, stored
from tp1.registry.versions import (
    CHALLENGER,
    CHAMPION,
    Version,
    describe,
    find_version,
    make_challenger,
    make_champion,
    now,
    register,
    registered_name,
    who,
)
from tp1.report.comparison import Group
from tp1.report.model_card import Speed, model_card
from tp1.report.sweeps import SweepTrials
from tp1.store.records import make_record
from tp1.store.runs import TrackedRun

ROUNDS = 20  # timed calls, to measure a model's speed


@dataclass(frozen=True)
class Candidate:
    """A run and its model, chosen for promotion.

    Attributes:
        run: The best run whose model is in this store.
        path: The model's files, checked.
        among: The runs that it is the best of: all on the same data whose models are in this store, and the trials of
            sweeps on it.
        passed_over: What is better and has no model in this store, each as a sentence.
    """

    group: Group
    run: TrackedRun
    model: StoredModel
    path: Path
    among: tuple[TrackedRun, ...]
    passed_over: tuple[str, ...]

    def sentence(self) -> str:
        """What its seeds have reached, and which of them it is."""
        accuracies = [run.metrics["best/val_accuracy"] for run in self.group.runs]
        sd = self.group.sd("best/val_accuracy")
        is_best = self.run.metrics["best/val_accuracy"] == max(accuracies)
        return (
            f"{self.group.label}: mean validation accuracy {self.group.mean('best/val_accuracy'):.4f}"
            f"{'' if sd is None else f' ± {sd:.4f}'} over {len(accuracies)} seed{'s' * (len(accuracies) != 1)}; "
            f"this is the best of them{'' if is_best else ' that has its model here'}."
        )


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


def choose_candidate(
    groups: Sequence[Group], data: ImageData, folder: Path, sweeps: Sequence[SweepTrials] = ()
) -> Candidate:
    """Choose the best run on ``data`` that has its model in this store, and fetch the model.

    A trial of a sweep is no candidate: what it found is trained again, with several seeds.

    Args:
        groups: Groups of runs on data sets of this name.
        sweeps: Sweeps on data sets of this name.
        folder: For the model's files.

    Raises:
        TP1Error: No run on this data has its model in this store, or the best one's model cannot be read.
    """
    here = [group for group in groups if _digests(group.runs[0]) == (data.digest, data.split_digest)]
    if not here:
        newest = max((run for group in groups for run in group.runs), key=lambda run: run.start_time)
        raise TP1Error(
            f"no run was trained on {data.name} as it is in {data.origin} (digests {data.digest} {data.split_digest}); "
            f"the newest one, {newest.name}, was on {' '.join(_digests(newest))}. Train on what is there now, or give "
            "the folder with the former data with data_dir=."
        )
    own = [run for group in here for run in group.runs if not run.record]  # few records have models
    # The parameters of a candidate may be the best of a sweep: then luck has favoured it that often.
    tried = [
        run for sweep in sweeps for run in sweep.ended.values() if _digests(run) == (data.digest, data.split_digest)
    ]
    others = (*own, *tried)
    passed_over: list[str] = []
    for group in sorted(here, key=lambda group: -group.mean("best/val_accuracy")):
        better = f"{group.label} ({group.mean('best/val_accuracy'):.4f}) is better"
        for run in sorted(group.runs, key=lambda run: -run.metrics["best/val_accuracy"]):
            try:
                model = find_model_of_run(run.run_id)
                path = fetch(model, folder / run.run_id)
            except GoneError:
                if not run.record:
                    passed_over.append(f"{better}, but the model of {run.name} ({run.run_id}) was deleted.")
                continue
            except TP1Error as error:
                raise TP1Error(
                    f"{error} Or delete the run {run.run_id} in the tracking UI: then the next best one is taken."
                ) from error
            among = (*others, run) if run.record else others
            return Candidate(group, run, model, path, among, tuple(passed_over))
        if all(run.record for run in group.runs):
            passed_over.append(f"{better}, but has no model here: it was loaded from a record.")
    raise TP1Error(f"no run on {data.name} has its model here; train one. {' '.join(passed_over[:3])}")


def promote(
    candidate: Candidate, data: ImageData, data_at: DataAt, force: str | None, required: Sequence[Requirement] = ()
) -> Decision:
    """Compare the candidate with the champion, register it, and make it champion or challenger.

    A candidate that already is the champion is left as it is.

    Args:
        data: The data set that the candidate was trained on.
        data_at: The same with images of another size, for a champion that takes these.
        force: Reason to make the candidate champion whatever the comparison shows, and even if there can be none;
            None: the rule decides.
        required: What it must keep to, whatever ``force`` says.

    Raises:
        TP1Error: The candidate cannot be read, falls short of what is required, or cannot be compared with the champion
            and ``force`` is None.
    """
    name = registered_name(data.name)
    what = f"{candidate.run.name} ({candidate.run.run_id})"
    measured = meet(required, candidate.model, candidate.path, what, data, data_at)
    with promotion_lock(name) as lock, TemporaryDirectory() as folder:
        champion = find_version(name, CHAMPION)
        if champion is not None and champion.model_id == candidate.model.model_id:
            if required:
                lock.check()
                describe(champion, champion.description, measured.tags(champion.tags))
            return Decision(champion, True, f"It is the champion already.{measured.text()}")
        predictor = load_logged(candidate.path, str(candidate.model))
        contest, reason = None, ""
        if champion is not None:
            among = sum(run.run_id != champion.run_id for run in candidate.among)
            try:
                contest = compete(predictor, champion, data, data_at, among, Path(folder) / "champion")
            except TP1Error as error:
                if force is None:
                    raise TP1Error(f"{error} force=REASON replaces the champion without a comparison.") from error
                reason = str(error)
        by_rule = champion is None or (contest is not None and contest.is_won)
        wins = by_rule or force is not None
        verdict = _verdict(champion, contest, reason, force, wins) + measured.text()
        forced = "" if by_rule else force or ""
        tags = _tags(candidate, champion, contest, reason, data) | {
            "tp1.verdict": CHAMPION if wins else CHALLENGER,
            "tp1.forced": forced,
            DIGESTS_TAG: as_tag(candidate.model.sha256 or file_digests(candidate.path)),
        }
        if wins:  # for rollback; else the tag keeps its value from an earlier time as champion
            tags["tp1.replaced"] = str(champion.number) if champion is not None else ""
        record = make_record(candidate.run.run_id, histories=False)
        speed = measure_speed(predictor, data_at(predictor.image_shape[:2]).val.images)
        lock.check()
        version = register(name, candidate.run.run_id, candidate.model.model_id)
        card = model_card(
            str(version),
            record,
            candidate.group.experiment,
            predictor.image_shape,
            (candidate.path / LOGGED_PROGRAM).stat().st_size,
            speed,
            f"{candidate.sentence()} By {tags['tp1.decided_by']}, {tags['tp1.decided_at']}. {verdict}",
        )
        card = examined_card(card, digest(candidate.path / LOGGED_PROGRAM), (data.name, data.digest, data.split_digest))
        describe(version, card, tags | measured.tags(version.tags))
        # The alias is set last, so that it only ever points to a complete version.
        lock.check()
        (make_champion if wins else make_challenger)(version)
    return Decision(version, wins, verdict)


def rollback(name: str, dataset: str) -> tuple[Version, Version]:
    """Make the champion's predecessor champion again; return the replaced version, then the new champion.

    A predecessor whose files were deleted is passed over for its own predecessor.

    Args:
        dataset: What the user named it by: a data set's name, or the path of its folder.

    Raises:
        TP1Error: There is no champion, it has no predecessor, the predecessor's files cannot be read or are damaged, or
            it is of another data set than lies in the folder.
    """
    with promotion_lock(name) as lock:
        champion = find_version(name, CHAMPION)
        if champion is None:
            raise TP1Error(f"{name} has no champion: mlflow run . -e promote makes one.")
        former = _former(champion)
        check_path(stored(former), dataset)
        note = f"Rolled back to version {former.number} by {who()}, {now()}."
        lock.check()
        describe(champion, f"**{note}**\n\n{champion.description}", {"tp1.rolled_back": note})
        lock.check()
        make_champion(former)
    return champion, former


def _former(champion: Version) -> Version:
    """The nearest predecessor that can be champion again."""
    version, seen = champion, {champion.number}
    while before := version.tags.get("tp1.replaced", ""):
        former = find_version(champion.name, int(before))
        if former is None:
            raise TP1Error(
                f"there is nothing to roll back to: before {version} there was version {before}, which was deleted."
            )
        if former.number in seen:
            break
        seen.add(former.number)
        try:
            with TemporaryDirectory() as folder:
                fetch(stored(former), Path(folder))
        except GoneError:
            say(f"{former} is passed over: its files were deleted.")
            version = former
            continue
        return former
    raise TP1Error(f"there is nothing to roll back to: before {version} there was none.")


def measure_speed(predictor: Predictor, images: ImageArray) -> Speed:
    """Measure prediction speed on the CPU: medians over :data:`ROUNDS` calls, after one warm-up call."""
    from tp1.training.devices import choose_device, describe  # here, because it imports torch
    from tp1.training.inference import EVALUATION_BATCH

    batch = np.resize(images[:EVALUATION_BATCH], (EVALUATION_BATCH, *images.shape[1:]))
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


def _digests(run: TrackedRun) -> tuple[str, str]:
    return run.data_digest, run.split_digest


def _tags(
    candidate: Candidate, champion: Version | None, contest: Contest | None, reason: str, data: ImageData
) -> dict[str, str]:
    """Return the version's tags: who decided when, on which run and data, against which version, with which figures.

    Those of an earlier decision on the same version are overwritten.
    """
    tags = {
        "tp1.decided_by": who(),
        "tp1.decided_at": now(),
        "tp1.run_id": candidate.run.run_id,
        "tp1.against": str(champion.number) if champion else "",
        "tp1.not_compared": reason,
        "tp1.val_accuracy": f"{candidate.run.metrics['best/val_accuracy']:.4f}",
        "tp1.data_digest": data.digest,
        "tp1.split_digest": data.split_digest,
    }
    paired = contest.paired if contest else None
    return tags | {
        "tp1.difference": f"{paired.difference:+.4f}" if paired else "",
        "tp1.difference_low": f"{paired.low:+.4f}" if paired else "",
        "tp1.difference_high": f"{paired.high:+.4f}" if paired else "",
        "tp1.images": str(paired.images) if paired else "",
        "tp1.among": str(contest.among) if contest else "",
        "tp1.p_value": f"{contest.p_value:.4g}" if contest else "",
    }


def _verdict(champion: Version | None, contest: Contest | None, reason: str, force: str | None, wins: bool) -> str:
    if champion is None:
        return "It is the first champion."
    if contest is None:
        return f"Not compared with {champion}: {reason} It is the champion now by force: {force}"
    compared = contest.text(champion)
    if contest.is_won:
        return f"{compared} It is the champion now."
    if wins:
        return f"{compared} It is the champion now by force: {force}"
    return f"{compared} It stays challenger: p is above {LEVEL}."
