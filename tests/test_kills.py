"""Kills at random moments of every phase: what comes out is what comes out of a run left alone."""

from pathlib import Path

import pytest

from benchmarks.kills import PHASES, kill_and_resume


@pytest.mark.parametrize("kills", [len(PHASES), pytest.param(50, marks=pytest.mark.long)])
@pytest.mark.timeout(900)
def test_a_run_that_was_killed_ends_as_one_that_was_left_alone(tmp_path: Path, kills: int):
    done = kill_and_resume(kills, seed=1, root=tmp_path)
    assert all(done[phase] for phase in PHASES), done
