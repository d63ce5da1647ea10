"""Several clients at once, and PostgreSQL restarted while they train: nothing is lost, and nothing is there twice."""

from pathlib import Path

import pytest

from benchmarks.team_load import AS_THE_COMMANDS, load


@pytest.mark.long
def test_nothing_is_lost_when_the_database_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    for name, value in AS_THE_COMMANDS.items():
        monkeypatch.setenv(name, value)
    assert load(4, 20, restart=True, folder=tmp_path) == []
    assert "4 clients, 20 s, PostgreSQL away for 5 s" in capsys.readouterr().out
