"""Kills of promote, rollback, download and migrate: the next command ends well, and leaves what one alone would."""

from pathlib import Path

import pytest

from benchmarks.registry_kills import kill_and_repeat


@pytest.mark.long
@pytest.mark.timeout(900)
def test_twelve_kills_of_commands_on_the_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("MLFLOW_TRACKING_URI", "OMP_NUM_THREADS", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"):
        monkeypatch.delenv(name, raising=False)  # so that what the trials set is gone after them
    assert kill_and_repeat(12, seed=3, root=tmp_path)["kills"] >= 12
