"""Several runs in a row: seeds, studies, failures, and what is finished already."""

import json
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import mlflow
import pytest

from tests.conftest import all_runs, invoke
from tp1.base.errors import TP1Error
from tp1.sweeps.jobs import Job, LostError, failures, only, run_jobs

QUICK = ("dataset=digits", "epochs=1", "batch_size=256")


def job(name: str, finished: str | None = None, error: Exception | None = None, minutes: float | None = 1) -> Job:
    def work(again: bool) -> str:
        if error is not None:
            raise error
        return "well"

    return Job(name, minutes, finished, only(work))


def test_finished_jobs_are_skipped_and_a_failure_stops_nothing(capsys):
    jobs = [job("a", finished="id"), job("b", error=TP1Error("broken")), job("c", minutes=None), job("d", minutes=120)]
    outcomes = run_jobs(jobs, str)
    assert [(outcome.name, outcome.status) for outcome in outcomes] == [
        *(("a", "skipped"), ("b", "failed"), ("c", "finished"), ("d", "finished"))
    ]
    assert failures(outcomes).startswith("1 of 4 runs failed: b (broken).")
    shown = capsys.readouterr().out
    assert "4 runs, 1 of them finished already; expected time about 2.0 h, and 1 not known." in shown
    assert "b: 1 of 3; time left about 2.0 h" in shown


def test_the_time_left_follows_the_pace(capsys, monkeypatch):
    import tp1.sweeps.jobs

    clock = iter([0.0, 120.0, 200.0, 201.0])
    monkeypatch.setattr(tp1.sweeps.jobs.time, "perf_counter", lambda: next(clock))
    run_jobs([job("a", minutes=1), job("b", minutes=10)], str)
    assert "b: 2 of 2; time left about 20 min" in capsys.readouterr().out  # the first took twice what was expected


def test_where_nothing_is_known_the_earlier_ones_tell(capsys, monkeypatch):
    import tp1.sweeps.jobs

    clock = iter([0.0, 180.0, 200.0, 380.0, 400.0, 401.0])
    monkeypatch.setattr(tp1.sweeps.jobs.time, "perf_counter", lambda: next(clock))
    run_jobs([job(name, minutes=None) for name in "abc"], str)
    shown = capsys.readouterr().out
    assert "3 runs, 0 of them finished already; expected time not known." in shown
    assert "b: 2 of 3; time left about 6 min" in shown


def test_an_interrupt_stops_all():
    def interrupted(again: bool) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs([Job("a", 1, None, only(interrupted)), job("b")], str)


class Threads:
    """Places in threads of this process; work whose name is in ``lost`` is lost so many times."""

    def __init__(self, places: int, retries: int = 0, **lost: int) -> None:
        self.places, self.retries, self.lost = places, retries, lost
        self.most = 0
        self.names: dict[Future, str] = {}
        self.pool = ThreadPoolExecutor(places)

    def submit(self, name, work, *, again):
        future = self.pool.submit(work, again)
        self.names[future] = name
        self.most = max(self.most, len(self.names))
        return future

    def result(self, future):
        name = self.names.pop(future)
        if self.lost.get(name, 0):
            self.lost[name] -= 1
            raise LostError("its node is gone.")
        return future.result()


def test_several_at_a_time_and_the_outcomes_in_order(capsys):
    def work(seconds: float, again: bool) -> str:
        time.sleep(seconds)
        return f"after {seconds}"

    jobs = [Job(name, 30, None, only(partial(work, rest))) for name, rest in (("a", 0.2), ("b", 0.01), ("c", 0.01))]
    jobs.insert(1, job("d", error=TP1Error("broken")))
    workers = Threads(2)
    outcomes = run_jobs(jobs, str, workers)
    assert [(one.name, one.status) for one in outcomes] == [
        *(("a", "finished"), ("d", "failed"), ("b", "finished"), ("c", "finished"))
    ]
    assert workers.most == 2
    shown = capsys.readouterr().out
    assert "4 runs, 0 of them finished already; expected time about 46 min." in shown
    assert shown.index("d failed: broken") < shown.index("c: 4 of 4; time left")


def test_what_was_lost_goes_on_elsewhere_as_often_as_it_may(capsys):
    told = []

    def work(name: str, again: bool) -> str:
        told.append((name, again))
        return "well"

    jobs = [Job(name, 1, None, only(partial(work, name))) for name in "ab"]
    outcomes = run_jobs(jobs, str, Threads(1, 2, a=2, b=3))
    assert [(one.status, one.line) for one in outcomes] == [("finished", "well"), ("failed", "its node is gone.")]
    assert told == [(name, again) for name in "ab" for again in (False, True, True)]
    assert capsys.readouterr().out.count("a: its node is gone. It goes on elsewhere.") == 2


def test_steps_are_told_of_a_failure_and_may_have_several():
    seen = []

    def steps():
        try:
            yield lambda again: 1 / 0
        except ZeroDivisionError as error:
            seen.append(error)
        result = yield lambda again: 7
        return str(result)

    def careless():
        try:
            yield lambda again: 1
            raise TP1Error("broken")
        finally:
            seen.append("closed")

    outcomes = run_jobs([Job("a", 1, None, steps), Job("b", 1, None, careless)], str)
    assert [one.line for one in outcomes] == ["7", "broken"]
    assert len(seen) == 2


def test_seeds_are_children_of_one_run_and_are_not_repeated(store):
    result = invoke("cnn-base", *QUICK, "seeds=0,1")
    assert result.exit_code == 0, result.output
    runs = {run.info.run_name: run for run in all_runs()}
    assert set(runs) == {"cnn-base-seeds", "cnn-base-s0", "cnn-base-s1"}
    parent = runs["cnn-base-seeds"]
    for seed in (0, 1):
        child = runs[f"cnn-base-s{seed}"]
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert (child.data.params["seed"], child.info.status) == (str(seed), "FINISHED")
        config = json.loads(mlflow.artifacts.load_text(f"{child.info.artifact_uri}/config.json"))
        assert config["command"].endswith(f"-P seed={seed}")
    assert "| cnn-base-s1 | finished |" in parent.data.tags["mlflow.note.content"]

    again = invoke("cnn-base", *QUICK, "seeds=0,1,2")
    assert "3 runs, 2 of them finished already" in again.output
    assert "cnn-base-s0: finished already: run" in again.output
    assert sum(run.info.run_name == "cnn-base-s0" for run in all_runs()) == 1
    other = invoke("cnn-base", *QUICK, "dropout=0.1", "seeds=0")  # another configuration
    assert "1 run, 0 of them finished" in other.output


@pytest.mark.long
def test_a_study_runs_its_configurations(store):
    result = invoke("cnnv3-configs", *QUICK, "configurations=c2,c4")
    assert result.exit_code == 0, result.output
    runs = {run.info.run_name: run for run in all_runs()}
    assert set(runs) == {"cnnv3-configs", "cnnv3-c2-s0", "cnnv3-c4-s0"}
    child = runs["cnnv3-c4-s0"]
    assert (child.data.params["learning_rate"], child.data.params["dropout"]) == ("0.0001", "0.5")
    assert (child.data.tags["tp1.experiment"], child.data.tags["tp1.configuration"]) == ("cnnv3", "c4")


@pytest.mark.long
def test_a_failed_child_fails_the_parent_after_the_others(store, monkeypatch):
    import tp1.run

    real = tp1.run.train

    def faulty(state, train_part, val_part, config, *rest):
        if config.seed == 1:
            raise TP1Error("no luck.")
        real(state, train_part, val_part, config, *rest)

    monkeypatch.setattr(tp1.run, "train", faulty)
    result = invoke("cnn-base", *QUICK, "seeds=1,2")
    assert result.exit_code == 1
    assert "1 of 2 runs failed: cnn-base-s1 (no luck.)" in result.stderr
    assert {run.info.run_name: run.info.status for run in all_runs()} == {
        "cnn-base-seeds": "FAILED",
        "cnn-base-s1": "FAILED",
        "cnn-base-s2": "FINISHED",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cnn-base", "seeds=0,x"), "'0,x' is not a list of whole numbers such as 0,1,2."),
        (("cnn-base", "seeds=0", "seed=1"), "give either seed or seeds."),
        (("cnnv3-configs", "configurations=c9"), "'c9' is not known. There are c1, c2, c3, c4."),
        (("cnnv3-configs", "learning_rate=1"), "No such option '--learning-rate'"),
        (("cnn-base", "workers=2"), "workers and ray are for several runs: give seeds, such as seeds=0,1,2, or leave"),
        (("cnn-base", "seeds=0,1", "workers=0"), "0 is not in the range 1<=x<=256."),
        (("cnnv3-configs", "workers=two"), "'two' is not a valid integer range."),
        (("main", "workers=1000"), "1000 is not in the range 1<=x<=256."),
        (("sweep", "experiment=cnnv3", "space=dropout=0.1..0.5", "workers=-1"), "-1 is not in the range 1<=x<=256."),
    ],
)
def test_bad_lists_are_one_line(store, arguments, message):
    result = invoke(*arguments)
    assert result.exit_code != 0
    assert message in result.stderr


def test_a_list_without_a_place_waits_for_one(capsys):
    class Away(Threads):
        """Its node comes back after the third question."""

        asked = 0

        @property
        def places(self):
            self.asked += 1
            return 1 if self.asked > 3 else 0

        @places.setter
        def places(self, count): ...

    workers = Away(1)
    (outcome,) = run_jobs([job("a")], str, workers)
    assert outcome.status == "finished"
    assert workers.asked < 10
    assert capsys.readouterr().out.count("There is no place to run on any more") == 1
