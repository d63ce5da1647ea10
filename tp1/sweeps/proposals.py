"""What to try next, and when to stop trying: Optuna behind two calls.

Nothing is kept from one command to the next. A study is rebuilt by telling it the earlier trials in order, from their
runs. What is proposed for a trial follows from the sweep's seed, the trial's number and what is known of the trials
before it, so that a sweep that was killed goes on as if it had not been.

Where trials run in other processes, one process proposes, and Optuna keeps the study in a file while the command
lasts: each trial writes its accuracies there, and is judged by those of the others.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import get_param_importances
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from tp1.sweeps.space import Dimension, Space, Value

REDUCTION = 3  # Hyperband: one trial in three goes on to three times as many epochs
FEWEST = 5  # finished trials that the importance of a parameter is judged by
STARTUP_TRIALS = 5  # the median pruner stops none of the first


# Is told the validation accuracy after an epoch, from 1 and in order; returns whether to stop the trial.
Judge = Callable[[int, float], bool]


class Proposal:
    """The values that a trial shall try, and the judge of how it goes.

    Attributes:
        judge: :meth:`is_hopeless`, for another process if the study is kept in a file.
    """

    def __init__(self, study: optuna.Study, space: Space, far_judge: Callable[[int], Judge] | None = None) -> None:
        self._study = study
        self._trial = study.ask(_distributions(space))
        self.values: dict[str, Value] = {name: self._trial.params[name] for name in space.names}
        self.judge = self.is_hopeless if far_judge is None else far_judge(self._trial._trial_id)

    def is_hopeless(self, epoch: int, accuracy: float) -> bool:
        """Tell the validation accuracy after an epoch, from 1 and in order; return whether to stop the trial."""
        self._trial.report(accuracy, epoch)
        return self._trial.should_prune()

    def finish(self, accuracy: float) -> None:
        """Tell the best validation accuracy of a finished trial."""
        self._study.tell(self._trial, accuracy)

    def fail(self) -> None:
        """Tell that the trial failed, which says nothing about its values."""
        self._study.tell(self._trial, state=TrialState.FAIL)

    def prune(self) -> None:
        """Tell that the trial was stopped early."""
        self._study.tell(self._trial, state=TrialState.PRUNED)


class Proposer:
    """Proposes the trials of a sweep, one after another.

    Args:
        name: Identifies the sweep; Hyperband distributes trials by it.
        sampler: One of :data:`~tp1.sweeps.space.SAMPLERS`.
        pruner: One of :data:`~tp1.sweeps.space.PRUNERS`.
        epochs: Of a trial that is not stopped early.
        journal: A new file that other processes read and write too; None: the trials are all in this process.
    """

    def __init__(
        self,
        name: str,
        space: Space,
        sampler: str,
        pruner: str,
        seed: int,
        epochs: int,
        journal: Path | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # it tells of every trial, which we do
        self._space = space
        self._sampler = sampler
        self._seed = seed
        self._far_judge = None if journal is None else partial(FarJudge, journal, name, pruner, epochs)
        self._study = optuna.create_study(
            storage=None if journal is None else _storage(journal),
            study_name=name,
            direction="maximize",
            pruner=_pruner(pruner, epochs),
        )

    @property
    def number(self) -> int:
        """The number of the next trial, from 0."""
        return len(self._study.get_trials(deepcopy=False))

    def propose(self, values: Mapping[str, Value] | None = None) -> Proposal:
        """Begin the next trial.

        Args:
            values: What it tries; None: what the sampler proposes.
        """
        number = self.number
        if values is None and self._sampler == "grid":
            values = self._space.point(number)
        # Anew for each trial: its random numbers then do not depend on how often this process was started.
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        random = self._sampler != "tpe" or values is not None
        samplers = optuna.samplers
        self._study.sampler = samplers.RandomSampler(seed) if random else samplers.TPESampler(seed=seed)
        if values is not None:
            self._study.enqueue_trial(dict(values))
        return Proposal(self._study, self._space, self._far_judge)

    def skip(self) -> None:
        """Leave the next trial out: it failed, which says nothing about its values."""
        self._study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL))

    def importances(self) -> dict[str, float]:
        """Return the share of each parameter in what makes finished trials differ, largest first; the sum is 1.

        They are PED-ANOVA's (Watanabe et al. 2023). Empty with fewer than :data:`FEWEST` finished trials, or if all
        results are the same.
        """
        finished = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(finished) < FEWEST or len({trial.value for trial in finished}) < 2:
            return {}
        return get_param_importances(self._study)


class FarJudge:
    """The judge of a trial, in whatever process that has the study's file."""

    def __init__(self, journal: Path, name: str, pruner: str, epochs: int, trial: int) -> None:
        self._journal = journal
        self._name = name
        self._pruner = pruner
        self._epochs = epochs
        self._trial = trial

    def __call__(self, epoch: int, accuracy: float) -> bool:
        """As :meth:`Proposal.is_hopeless`; an epoch that a lost process has told is not told again."""
        storage = self._storage
        if epoch not in storage.get_trial(self._trial).intermediate_values:
            storage.set_trial_intermediate_value(self._trial, epoch, accuracy)
        return bool(self._study.pruner.prune(self._study, storage.get_trial(self._trial)))

    @cached_property
    def _storage(self) -> BaseStorage:
        return _storage(self._journal)

    @cached_property
    def _study(self) -> optuna.Study:
        return optuna.load_study(
            study_name=self._name, storage=self._storage, pruner=_pruner(self._pruner, self._epochs)
        )


def _storage(journal: Path) -> BaseStorage:
    return JournalStorage(JournalFileBackend(str(journal)))


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    return {one.name: _distribution(one) for one in space.dimensions}


def _distribution(one: Dimension) -> BaseDistribution:
    if one.values:
        return CategoricalDistribution(one.values)
    if one.is_whole:
        return IntDistribution(int(one.low), int(one.high), log=one.log)
    return FloatDistribution(one.low, one.high, log=one.log)


def _pruner(name: str, epochs: int) -> Any:
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=REDUCTION)
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS)
    return optuna.pruners.NopPruner()


def replay(proposal: Proposal, accuracies: Sequence[float], finished: float | None) -> None:
    """Tell an earlier trial.

    Args:
        accuracies: Validation accuracy after each of its epochs.
        finished: Its best validation accuracy; None if it was stopped early.
    """
    for epoch, accuracy in enumerate(accuracies, start=1):
        proposal.is_hopeless(epoch, accuracy)
    if finished is None:
        proposal.prune()
    else:
        proposal.finish(finished)
