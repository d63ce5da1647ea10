"""The wheel is whole: installed into an empty folder, its command trains there, without a checkout."""

import os
import subprocess
import sys

import pytest

from tests.conftest import PROJECT


def finished(command, folder, **environment):
    result = subprocess.run(
        list(map(str, command)), cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return result.stdout


@pytest.mark.long
def test_an_installed_wheel_trains_outside_a_checkout(tmp_path):
    pip = [sys.executable, "-m", "pip", "--quiet"]
    wheels, installed, empty = tmp_path / "wheels", tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    finished([*pip, "wheel", "--no-deps", "--wheel-dir", wheels, PROJECT], tmp_path)
    (wheel,) = wheels.iterdir()
    finished([*pip, "install", "--no-deps", "--target", installed, wheel], tmp_path)
    here = {"PYTHONPATH": str(installed), "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    where = finished(
        [sys.executable, "-c", "import tp1, experiments; print(tp1.__file__, experiments.__file__)"], empty, **here
    )
    assert all(path.startswith(str(installed)) for path in where.split())
    printed = finished([installed / "bin" / "tp1", "cnnv3", "dataset=digits", "epochs=2"], empty, **here)
    assert "Test accuracy" in printed
    assert "cnnv3" in finished([installed / "bin" / "tp1", "compare"], empty, **here)
    assert (empty / "mlflow.db").exists()
