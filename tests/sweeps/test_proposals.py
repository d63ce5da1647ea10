"""What is proposed follows from the seed and from the earlier trials, not from the process that proposes."""

import math
import pickle

import pytest

from tests.support.made_runs import experiment_of
from tp1.sweeps.proposals import FEWEST, Proposal, Proposer, replay
from tp1.sweeps.space import PRUNERS, Space, parse_space

EPOCHS = 9
TEXT = "learning_rate=log:1e-4..1e-1,dropout=0.0..0.6,batch_size=32|64|128,optimizer=adam|sgd"


def space_of(text: str = TEXT) -> Space:
    return parse_space(text, experiment_of("cnnv3"), {})[0]


def proposer(sampler: str = "tpe", pruner: str = "hyperband", seed: int = 0, text: str = TEXT) -> Proposer:
    return Proposer("name", space_of(text), sampler, pruner, seed, EPOCHS)


def accuracy(values: dict, epoch: int) -> float:
    """A made-up experiment: the learning rate matters most, and the optimiser not at all."""
    loss = abs(math.log10(values["learning_rate"]) + 2.5) / 4 + abs(values["dropout"] - 0.2) / 4
    return (1 - loss) * (1 - 1 / (epoch + 2))


def train(proposal: Proposal) -> tuple[dict, list[float], float | None]:
    """Values, accuracies and the best one of a trial; None if it was stopped early."""
    accuracies: list[float] = []
    for epoch in range(1, EPOCHS + 1):
        accuracies.append(accuracy(proposal.values, epoch))
        if proposal.is_hopeless(epoch, accuracies[-1]) and epoch < EPOCHS:
            proposal.prune()
            return proposal.values, accuracies, None
    proposal.finish(max(accuracies))
    return proposal.values, accuracies, max(accuracies)


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_study_that_is_told_the_earlier_trials_goes_on_as_if_it_had_seen_them(pruner):
    whole = proposer(pruner=pruner)
    trials = [train(whole.propose()) for _ in range(25)]
    for done in (1, 12, 20):
        again = proposer(pruner=pruner)
        for values, accuracies, finished in trials[:done]:
            replay(again.propose(values), accuracies, finished)
        assert [train(again.propose()) for _ in range(25 - done)] == trials[done:]
        assert again.importances() == whole.importances()


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_judge_in_another_process_judges_as_one_here(pruner, tmp_path):
    here = proposer("random", pruner)
    far = Proposer("name", space_of(), "random", pruner, 0, EPOCHS, tmp_path / "journal")
    pruned = 0
    for _ in range(8):
        one, other = here.propose(), far.propose()
        assert one.values == other.values
        judge = pickle.loads(pickle.dumps(other.judge))
        for epoch in range(1, EPOCHS + 1):
            value = accuracy(one.values, epoch)
            hopeless = one.judge(epoch, value)
            assert judge(epoch, value) == hopeless
            if hopeless:
                break
            judge = pickle.loads(pickle.dumps(other.judge))  # in yet another one, after the first was lost
            assert not judge(epoch, value)
        pruned += hopeless
        for proposal in (one, other):
            if hopeless:
                proposal.prune()
            else:
                proposal.finish(value)
    assert (pruned > 0) == (pruner != "none")
    assert here.importances() == far.importances()


def test_tpe_finds_better_values_than_chance_and_pruning_saves_epochs():
    def best(sampler: str, pruner: str) -> tuple[float, int]:
        one = proposer(sampler, pruner)
        trials = [train(one.propose()) for _ in range(40)]
        return max(finished or 0.0 for _, _, finished in trials), sum(len(curve) for _, curve, _ in trials)

    random, all_epochs = best("random", "none")
    assert all_epochs == 40 * EPOCHS
    assert best("tpe", "none")[0] > random
    for pruner in ("hyperband", "median"):
        found, epochs = best("tpe", pruner)
        assert found > random
        assert epochs < 0.75 * all_epochs


def test_the_seed_decides():
    def first(seed: int, sampler: str = "random") -> list[dict]:
        one = proposer(sampler, "none", seed)
        return [train(one.propose())[0] for _ in range(3)]

    assert first(1) == first(1) != first(2)
    assert first(1, "tpe") != first(2, "tpe")


def test_a_grid_is_tried_in_order():
    space = space_of("batch_size=32|64,dropout=0.1|0.2")
    one = proposer("grid", text=str(space))
    proposals = []
    for _ in range(4):
        proposal = one.propose()
        proposals.append(proposal.values)
        proposal.finish(0.5)
    assert proposals == [space.point(number) for number in range(4)]


def test_importance_needs_results_that_differ():
    one = proposer("random", pruner="none")
    assert one.importances() == {}
    for _ in range(FEWEST - 1):
        train(one.propose())
    assert one.importances() == {}
    for _ in range(40):
        train(one.propose())
    found = one.importances()
    assert sum(found.values()) == pytest.approx(1)
    assert next(iter(found)) == "learning_rate"
    assert set(found) == set(space_of().names)


def test_trials_that_failed_or_were_stopped_before_an_epoch_stand_in_no_way():
    one = proposer()
    one.skip()
    one.propose().fail()
    one.propose().prune()
    assert one.number == 3
    assert train(one.propose())[2] is not None
