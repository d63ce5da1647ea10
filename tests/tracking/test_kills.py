"""Kills at random moments of every phase: what comes out is what comes out of a run left alone."""

from pathlib import Path

import pytest

from benchmarks.kills import PHASES, kill_and_resume


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_run_that_was_killed_ends_as_one_that_was_left_alone(tmp_path: Path):
    assert kill_and_resume(4, seed=1, root=tmp_path, names=["mobilenetv2-pretrained"])["kills"] >= 4


@pytest.mark.long
@pytest.mark.timeout(900)
def test_fifty_kills_over_all_phases(tmp_path: Path):
    done = kill_and_resume(50, seed=2, root=tmp_path)
    assert all(done[phase] for phase in PHASES), done
