"""A real `mlflow run` of this project."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.entities import Run

from tests.conftest import PROJECT, all_runs


def mlflow_run(
    folder: Path, *arguments: str, project: str = str(PROJECT)
) -> tuple[subprocess.CompletedProcess[str], list[Run]]:
    """`mlflow run` of this project in ``folder`` and on a store there; the runs are then read from there."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db",  # relative to where the user is, not to the project
        "TP1_CACHE_DIR": str(folder / "cache"),
        "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "1",
    }
    result = subprocess.run(
        ["mlflow", "run", project, "--env-manager", "local", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        return result, all_runs()
