"""Sweeps as the tracking store has them: the trials of each, counted and in tables."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from types import MappingProxyType

import pandas as pd

from tp1.config import GROUPS, hyperparameters
from tp1.experiment import Experiment
from tp1.report.comparison import short
from tp1.report.page import Block, Code, Folded, Inline, Number, Table
from tp1.report.parameter_charts import parameter_picture
from tp1.report.tables import Texts, number
from tp1.store.identity import differing
from tp1.store.runs import TrackedRun

FINISHED, PRUNED = "finished", "pruned"
ACCURACY = "best/val_accuracy"


def state_of(trial: TrackedRun) -> str:
    """``finished``, ``pruned`` (stopped early), or its status, such as ``killed``, if it can go on or be done again."""
    if trial.pruned is not None:
        return PRUNED
    if trial.status == "FINISHED":
        return "incomplete" if trial.missing else FINISHED
    return trial.status.lower()


@dataclass(frozen=True)
class SweepTrials:
    """A sweep, by its trials.

    Attributes:
        digest: Identifies the sweep.
        trials: One run for each trial, by number: the finished or pruned one, else the newest.
        experiment: The trials' experiment; None if this code does not know it.
    """

    digest: str
    trials: tuple[TrackedRun, ...]
    experiment: Experiment | None = None

    @property
    def label(self) -> str:
        """The experiment; what differs from its defaults and is the same in all trials follows in parentheses."""
        name = self.trials[0].experiment
        known = [one for one in self.trials if one.params]
        if self.experiment is None or not known:
            return name
        varied = self.varied
        others = differing(self.experiment.config, known[0])
        texts = [f"{key}={short(value)}" for key, value in others.items() if key not in (*varied, "dataset")]
        return f"{name} ({', '.join(texts)})" if texts else name

    @cached_property
    def ended(self) -> dict[int, TrackedRun]:
        """The trials that are never done again, by number."""
        return {number_of(one): one for one in self.trials if state_of(one) in (FINISHED, PRUNED)}

    @property
    def counts(self) -> Counter[str]:
        """The number of trials in each state."""
        return Counter(state_of(one) for one in self.trials)

    @property
    def best(self) -> TrackedRun | None:
        """The finished trial with the highest validation accuracy, of equal ones the first; None without any."""
        finished = [one for one in self.trials if state_of(one) == FINISHED]
        return max(finished, key=lambda one: one.metrics[ACCURACY], default=None)

    @property
    def epochs_run(self) -> int:
        """Epochs that the finished and the pruned trials have together."""
        return sum(one.pruned if one.pruned is not None else _epochs(one) for one in self.ended.values())

    @property
    def epochs_saved(self) -> int:
        """Epochs that the pruned trials were spared."""
        return sum(_epochs(one) for one in self.ended.values()) - self.epochs_run

    @cached_property
    def varied(self) -> list[str]:
        """The names of the hyperparameters that differ between trials, but for what each optimiser has by default."""
        seen: dict[str, set[object]] = {}
        chosen: set[str] = set()
        for values in (hyperparameters(one.params) for one in self.trials if one.params):
            usual = _usual(values)
            for name, value in values.items():
                seen.setdefault(name, set()).add(value)
                if value != usual.get(name):
                    chosen.add(name)
        return [name for name, values in seen.items() if len(values) > 1 and name in chosen]

    def values(self, trial: TrackedRun) -> str:
        """The varied hyperparameters of a trial in one line, numbers with four digits."""
        return shown_values(trial, self.varied)


def shown_values(trial: TrackedRun, names: Sequence[str]) -> str:
    """Return those of a trial's hyperparameters that it has in one line, numbers with four digits."""
    return ", ".join(f"{name}={_text(_cell(trial, name))}" for name in names if name in trial.params)


def number_of(trial: TrackedRun) -> int:
    """The number of a trial in its sweep."""
    assert trial.trial is not None
    return trial.trial


def collect(
    trials: Iterable[TrackedRun], known: Mapping[tuple[str, str], Experiment] = MappingProxyType({})
) -> list[SweepTrials]:
    """Return the sweeps of these trials, the newest first.

    Args:
        trials: Newest first.
        known: Experiments by name and configuration.
    """
    chosen: dict[str, dict[int, TrackedRun]] = {}
    for one in trials:
        before = chosen.setdefault(one.sweep, {}).setdefault(number_of(one), one)
        if state_of(before) not in (FINISHED, PRUNED) and state_of(one) in (FINISHED, PRUNED):
            chosen[one.sweep][number_of(one)] = one
    return [
        SweepTrials(digest, trials, known.get((trials[0].experiment, trials[0].configuration)))
        for digest, trials in (
            (digest, tuple(by_number[number] for number in sorted(by_number))) for digest, by_number in chosen.items()
        )
    ]


def sweeps_table(sweeps: Sequence[SweepTrials], texts: Texts) -> Table:
    """Return one row per sweep."""
    columns = [texts["sweep"], texts["dataset"], texts["searched"], texts["trials"], texts["finished"]]
    columns += [texts["pruned"], texts["best_trial"], texts["validation_short"], texts["test_short"], texts["saved"]]
    rows: list[list[Inline]] = []
    for sweep in sweeps:
        best, counts, whole = sweep.best, sweep.counts, sweep.epochs_run + sweep.epochs_saved
        rows.append(
            [
                sweep.label,
                _dataset(sweep),
                ", ".join(sweep.varied),
                *(_count(count) for count in (len(sweep.trials), counts[FINISHED], counts[PRUNED])),
                f"{number_of(best)}: {sweep.values(best)}" if best else "–",
                number(best.metrics[ACCURACY] if best else None),
                number(best.metrics["test/accuracy"] if best else None),
                Number(f"{sweep.epochs_saved / whole:.0%}", sweep.epochs_saved / whole) if whole else "–",
            ]
        )
    return Table(columns, rows)


def sweep_blocks(sweeps: Sequence[SweepTrials], texts: Texts) -> list[Block]:
    """Return one line per sweep, which opens to its trials; of many finished ones also their parallel coordinates."""
    blocks: list[Block] = []
    for place, sweep in enumerate(sweeps):
        blocks.append(Folded(_title(sweep, texts), trials_table(sweep, texts)))
        finished = [one for one in sweep.trials if state_of(one) == FINISHED]
        values = [hyperparameters(one.params) for one in finished]
        picture = parameter_picture(
            f"sweep-{place}",
            {name: [one[name] for one in values] for name in sweep.varied},
            [one.metrics[ACCURACY] for one in finished],
            [f"{sweep.label}: {texts['trial']} {number_of(one)}" for one in finished],
            [""] * len(finished),
            texts,
        )
        blocks += [picture] if picture else []
    return blocks


def trials_table(sweep: SweepTrials, texts: Texts) -> Table:
    """Return one row per trial. Test figures are left out: nothing is chosen by them."""
    columns = [texts["trial"], texts["state"], *sweep.varied, texts["validation"], texts["best_epoch"], "id"]
    rows: list[list[Inline]] = []
    for one in sweep.trials:
        state = state_of(one)
        accuracy, epoch = one.metrics.get(ACCURACY), one.metrics.get("best/epoch")
        rows.append(
            [
                _count(number_of(one)),
                texts["states"].get(state, state).format(epochs=one.pruned),
                *(_cell(one, name) for name in sweep.varied),
                number(accuracy),
                number(epoch, 0),
                Code(one.original[:8]),
            ]
        )
    return Table(columns, rows)


def trials_frame(sweep: SweepTrials, names: Sequence[str]) -> pd.DataFrame:
    """Return one row per trial, for a CSV file.

    Args:
        names: The searched parameters.
    """
    return pd.DataFrame(
        {
            "trial": number_of(one),
            "state": state_of(one),
            **{name: one.params.get(name) for name in names},
            "val_accuracy": one.metrics.get(ACCURACY),
            "best_epoch": one.metrics.get("best/epoch"),
            "epochs": one.pruned if one.pruned is not None else one.params.get("epochs"),
            "run_id": one.run_id,
        }
        for one in sweep.trials
    )


def _title(sweep: SweepTrials, texts: Texts) -> str:
    best, counts, whole = sweep.best, sweep.counts, sweep.epochs_run + sweep.epochs_saved
    title: str = texts["sweep_title"].format(
        name=sweep.label,
        dataset=_dataset(sweep),
        trials=len(sweep.trials),
        finished=counts[FINISHED],
        pruned=counts[PRUNED],
        saved=sweep.epochs_saved / whole if whole else 0.0,
    )
    if best is None:
        return title
    found: str = texts["sweep_best"].format(
        accuracy=best.metrics[ACCURACY],
        test=best.metrics["test/accuracy"],
        number=number_of(best),
        values=sweep.values(best),
    )
    return f"{title} {found}"


def _usual(values: Mapping[str, object]) -> dict[str, object]:
    """What the optimiser and the schedule of these hyperparameters have by default; None for what they have not."""
    usual: dict[str, object] = {}
    for group, variants in GROUPS.items():
        usual |= dict.fromkeys((item.name for variant in variants.values() for item in fields(variant)), None)
        if (kind := variants.get(str(values[group]))) is not None:
            usual |= asdict(kind())
    return usual


def _dataset(sweep: SweepTrials) -> str:
    return next((one.dataset for one in sweep.trials if one.dataset), "")


def _epochs(trial: TrackedRun) -> int:
    value = hyperparameters(trial.params)["epochs"]
    return int(value) if isinstance(value, float) else 0  # a tracked parameter can be any text


def _count(value: int) -> Number:
    return Number(f"{value:,}", value)


def _cell(trial: TrackedRun, name: str) -> Inline:
    if name not in trial.params:
        return "–"
    value = hyperparameters(trial.params)[name]
    return Number(f"{value:.4g}", value) if isinstance(value, float) else str(value)


def _text(cell: Inline) -> str:
    return cell if isinstance(cell, str) else cell.text
