"""The folder in which the user is, as real processes see it that were started as `mlflow run` starts them."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.conftest import PROJECT
from tp1.base.launcher import launch_folder

ASK = "from tp1.base.launcher import launch_folder; print(launch_folder())"
# As mlflow's local backend: a shell in the project's folder, with the run's id; the last line keeps the shell alive.
LAUNCH = f"""
import os, subprocess, sys
environment = {{**os.environ, "MLFLOW_RUN_ID": "1" * 32}}
command = sys.executable + ' -c "{ASK}"; true'
sys.exit(subprocess.run(["bash", "-c", command], cwd=sys.argv[1], env=environment).returncode)
"""


def ask(code: str, folder: Path, *arguments: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PROJECT), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip()


def test_it_is_that_of_mlflow_run(tmp_path):
    for name in ("user", "project"):
        (tmp_path / name).mkdir()
    assert ask(LAUNCH, tmp_path / "user", str(tmp_path / "project")) == str(tmp_path / "user")


def test_without_mlflow_run_there_is_none(monkeypatch):
    assert launch_folder() is None
    monkeypatch.setenv("MLFLOW_RUN_ID", "1" * 32)  # in this process; nothing has launched it
    assert launch_folder() is None


def test_it_may_be_unknown(monkeypatch):
    class Closed:
        def environ(self):
            raise psutil.AccessDenied

    monkeypatch.setenv("MLFLOW_RUN_ID", "1" * 32)
    monkeypatch.setattr(psutil, "Process", Closed)
    with pytest.raises(LookupError):
        launch_folder()
