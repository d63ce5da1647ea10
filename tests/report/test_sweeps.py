"""Sweeps as the store has them: trials are counted, and are no rows of their own."""

import re
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

from tests.conftest import invoke
from tests.support.catalog import catalog
from tests.support.made_runs import make_run
from tp1.registry.promotion import choose_candidate
from tp1.report.page import Page, Section
from tp1.report.page_html import to_html
from tp1.report.page_markdown import to_markdown
from tp1.report.selection import select
from tp1.report.sweep_figures import Axis, Tried, accuracy_axis, history, importances, parallel_coordinates
from tp1.report.sweeps import state_of, sweep_blocks, sweeps_table, trials_frame
from tp1.report.texts import TEXTS
from tp1.store.reader import RunReader


def make_trial(number: int, *, pruned: int | None = None, status: str = "FINISHED", sweep: str = "digest", **options):
    """A run of cnnv3 as a trial; its id."""
    run_id = make_run(**options)
    client = MlflowClient()
    client.set_tag(run_id, "tp1.sweep", sweep)
    client.set_tag(run_id, "tp1.trial", str(number))
    if pruned is not None:
        client.set_tag(run_id, "tp1.pruned", str(pruned))
        status = "KILLED"
    client.update_run(run_id, status)
    return run_id


def test_trials_are_counted_and_the_best_is_a_finished_one(store):
    finished = make_trial(0, accuracy=0.8, dropout=0.1)
    make_trial(1, accuracy=0.9, dropout=0.2, pruned=3)
    make_trial(2, accuracy=0.95, dropout=0.3, status="FAILED")
    make_trial(3, accuracy=0.8, dropout=0.4)
    make_trial(4, accuracy=0.99, dropout=0.5, without=("test/accuracy",))
    make_trial(5, accuracy=0.7, dropout=0.2)
    make_trial(5, accuracy=0.6, dropout=0.2, status="KILLED", start=1_800_000_000_000)  # the finished one counts
    make_trial(0, sweep="other", accuracy=0.5, start=1_600_000_000_000)
    sweep, other = select(RunReader(), catalog()).sweeps
    assert [(one.trial, state_of(one)) for one in sweep.trials] == [
        *((0, "finished"), (1, "pruned"), (2, "failed"), (3, "finished"), (4, "incomplete"), (5, "finished"))
    ]
    assert sweep.best.run_id == finished  # of equal ones the first
    assert sorted(sweep.ended) == [0, 1, 3, 5]
    assert (sweep.epochs_run, sweep.epochs_saved) == (3 * 25 + 3, 22)
    assert sweep.varied == ["dropout"]
    assert (other.digest, len(other.trials), other.varied) == ("other", 1, [])
    frame = trials_frame(sweep, ["dropout"])
    assert frame["dropout"].tolist() == ["0.1", "0.2", "0.3", "0.4", "0.5", "0.2"]
    assert frame["epochs"].tolist() == ["25", 3, "25", "25", "25", "25"]


def test_a_sweep_says_what_is_the_same_in_all_trials(store):
    for number in range(2):
        make_trial(number, dropout=number / 10, epochs=5)
    (sweep,) = select(RunReader(), catalog()).sweeps
    assert sweep.label == "cnnv3 (epochs=5)"


def test_what_comes_with_an_optimiser_is_not_what_varies(store):
    make_trial(0, optimizer="sgd", momentum=0.9, weight_decay=5e-4, learning_rate=0.05)
    make_trial(1, optimizer="muon", momentum=0.95, adam_rate=3e-3, weight_decay=0.0, learning_rate=0.02)
    (sweep,) = select(RunReader(), catalog()).sweeps
    assert sweep.varied == ["optimizer", "learning_rate"]
    assert sweep.values(sweep.trials[1]) == "optimizer=muon, learning_rate=0.02"
    make_trial(2, optimizer="sgd", momentum=0.8, weight_decay=5e-4, learning_rate=0.05)
    assert select(RunReader(), catalog()).sweeps[0].varied == ["optimizer", "learning_rate", "momentum"]


def test_trials_are_in_no_group_and_do_not_count_as_incomplete_runs(store):
    make_trial(0)
    make_trial(1, without=("test/accuracy",))
    own = make_run(accuracy=0.5)
    selection = select(RunReader(), catalog())
    assert [[run.run_id for run in group.runs] for group in selection.groups] == [[own]]
    assert selection.complaint() is None
    assert select(RunReader(), catalog(), names=["cnnv2"]).sweeps == []
    assert select(RunReader(), catalog(), dataset="digits").sweeps == []
    assert select(RunReader(), catalog(), since=1_900_000_000_000).sweeps == []
    assert len(select(RunReader(), catalog(), names=["cnnv3"], dataset="cifar10").sweeps) == 1


def test_the_trials_of_a_sweep_count_where_a_model_is_promoted(store, tmp_path, monkeypatch):
    finished = make_trial(0, accuracy=0.9, dropout=0.1)
    pruned = make_trial(1, accuracy=0.7, dropout=0.2, pruned=3)
    make_trial(2, accuracy=0.9, dropout=0.3, split="another")
    own = make_run(accuracy=0.8)
    selection = select(RunReader(), catalog())
    monkeypatch.setattr("tp1.registry.promotion.find_model_of_run", lambda run_id: run_id)
    monkeypatch.setattr("tp1.registry.promotion.fetch", lambda model, folder: folder)
    data = SimpleNamespace(digest="data", split_digest="split", name="cifar10")
    candidate = choose_candidate(selection.groups, data, tmp_path, selection.sweeps)
    assert candidate.run.run_id == own
    assert {run.run_id for run in candidate.among} == {own, finished, pruned}


@pytest.mark.parametrize("language", ["en", "pt"])
def test_a_sweep_is_one_line_that_opens(store, language):
    make_trial(0, accuracy=0.8, dropout=0.1)
    make_trial(1, accuracy=0.7, dropout=0.2, pruned=5, name="<b>")
    sweeps, texts = select(RunReader(), catalog()).sweeps, TEXTS[language]
    (row,) = sweeps_table(sweeps, texts).rows
    assert row[0] == "cnnv3"
    assert row[-1].text == "40%"
    page = Page("Title", language, [], [Section("sweeps", texts["sweeps"], sweep_blocks(sweeps, texts))])
    html = to_html(page)
    assert re.search(r"<details>\s*<summary>cnnv3 .*0\.8000.*dropout=0\.1\.</summary>", html)
    markdown, _ = to_markdown(page, ".")
    assert markdown.count("<details><summary>") == markdown.count("</details>") == 1
    assert "\n\n| " in markdown  # a blank line: else the table would be HTML


def test_a_sweep_alone_can_be_compared(store, tmp_path):
    make_trial(0)
    result = invoke("compare", f"to={tmp_path / 'out'}")
    assert result.exit_code == 0, result.output
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"compare.csv", "compare.md", "compare.html"}


def test_many_trials_are_drawn_beside_their_table(store):
    for number in range(5):
        make_trial(number, accuracy=0.5 + number / 10, dropout=number / 10)
    make_trial(5, pruned=3, dropout=0.9)
    folded, picture = sweep_blocks(select(RunReader(), catalog()).sweeps, TEXTS["en"])
    assert len(folded.table.rows) == 6
    assert len(picture.figure.axes[0].collections[1].get_segments()) == 5
    assert "dropout=0.4" in picture.charts[0].json


def test_figures_show_every_trial(tmp_path):
    tried = [Tried(0, 0.5, True), Tried(1, 0.9, False), Tried(2, 0.8, True), Tried(4, 0.6, True)]
    axes = history(tried).axes[0]
    finished, stopped = axes.collections
    assert finished.get_offsets().tolist() == [[0, 0.5], [2, 0.8], [4, 0.6]]
    assert stopped.get_offsets().tolist() == [[1, 0.9]]
    assert axes.lines[0].get_ydata().tolist() == [0.5, 0.8, 0.8]  # the best finished one so far
    bars = importances({"learning_rate": 0.75, "dropout": 0.25}).axes[0].patches
    assert [bar.get_width() for bar in bars] == [0.75, 0.25]
    axis = Axis("dropout", [0, 0.25, 0.5, 1], [(0, "0"), (1, "0.5")])
    lines = parallel_coordinates([axis, accuracy_axis(tried)], tried).axes[0].collections
    assert len(lines[0].get_segments()) == 1
    assert lines[1].get_segments()[-1].tolist() == [[0, 0.5], [1, pytest.approx(0.75)]]  # the best finished one on top
    alone = [Tried(0, 0.5, False)]  # none finished, one accuracy
    parallel_coordinates([Axis("dropout", [0.5], []), accuracy_axis(alone)], alone)
