"""Files in experiments/ that are no whole experiments are named, and hinder nothing else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import PROJECT

CNNV3 = (PROJECT / "experiments" / "cnnv3.py").read_text()
FAULTY = {
    "draft": ("experiment = Experiment(", "SyntaxError: '(' was never closed"),
    "half": ("import a_module_that_is_not_there", "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"),
    "leaves": ("raise SystemExit('enough')", "SystemExit: enough"),
    "empty": ("experimnt = 1\n", "it has no value `experiment` of type Experiment or Study."),
    "cnnv3-Copy1": (CNNV3.replace("epochs=25", "epochs=1"), "it has the name 'cnnv3', which belongs into cnnv3.py."),
    "compare": (CNNV3.replace('name="cnnv3"', 'name="compare"'), "its name 'compare' is a command already."),
    "typed": (CNNV3.replace("model=cnnv3,", 'model="cnnv3",'), "its model='cnnv3' is no network. Give it a function"),
    "valued": (
        CNNV3.replace("dropout=0.5", "dropout=1.5"),
        "left out: dropout=1.5 is out of range: it must be a number from 0 up to, but not, 1.",
    ),
    "odd": (CNNV3.replace('name="cnnv3"', 'name="Odd one"'), "its name 'Odd one' is not lower-case letters"),
}
ASK = """
import json, sys
from click.testing import CliRunner
from experiments.__main__ import main

runner = CliRunner()
found = {}
for line in sys.argv[1:]:
    result = runner.invoke(main, line.split())
    found[line] = (result.exit_code, result.stdout, result.stderr)
print(json.dumps(found))
"""


def copied(folder: Path, files: dict[str, str]) -> Path:
    """A copy of this project's experiments with further files."""
    shutil.copytree(PROJECT / "experiments", folder / "experiments", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in files.items():
        (folder / "experiments" / f"{name}.py").write_text(text)
    return folder


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": f"{folder}:{PROJECT}"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def ask(folder: Path, *lines: str) -> dict[str, tuple[int, str, str]]:
    """Exit code, output and errors of command lines of ``tp1`` in one process."""
    result = python(folder, "-c", ASK, *lines)
    assert result.returncode == 0, result.stderr
    found: dict[str, tuple[int, str, str]] = json.loads(result.stdout)
    return found


def test_drafts_and_copies_are_named_and_hinder_nothing(store, tmp_path):
    folder = copied(tmp_path / "copy", {name: text for name, (text, _) in FAULTY.items()})
    found = ask(folder, "runs", "cnnv3 --help", "compare --help", "--help", "mlproject", "cnnv3-copy1")
    code, output, errors = found["runs"]
    assert (code, output.splitlines()[-1]) == (0, "No unfinished runs.")
    notes = errors.splitlines()
    assert len(notes) == len(FAULTY)
    for name, (_, reason) in FAULTY.items():
        (note,) = [note for note in notes if note.startswith(f"Note: experiments/{name}.py is left out: ")]
        assert reason in note
        assert not note.endswith("..")
    assert "[default: 25]" in found["cnnv3 --help"][1]
    assert "Runs side by side" in found["compare --help"][1]
    for name in FAULTY:
        assert f"experiments/{name}.py is left out" in " ".join(found["--help"][1].split())
    code, _, errors = found["mlproject"]
    assert code == 1
    assert errors.splitlines()[-1].startswith("Error: MLproject is not written: experiments/cnnv3-Copy1.py is left out")
    assert errors.count("experiments/cnnv3-Copy1.py") == 1
    assert len(errors.splitlines()) == len(FAULTY)
    assert not (folder / "MLproject").exists()
    assert found["cnnv3-copy1"][0] == 2
    assert "experiments/cnnv3-Copy1.py is left out" in found["cnnv3-copy1"][2]


def test_a_new_file_is_an_experiment(store, tmp_path):
    mine = CNNV3.replace('name="cnnv3"', 'name="my-own"').replace("epochs=25", "epochs=7")
    folder = copied(tmp_path / "copy", {"my_own": mine, "_helper": "a draft of no concern ("})
    found = ask(folder, "my-own --help", "mlproject")
    assert found["my-own --help"][0] == 0
    assert "[default: 7]" in found["my-own --help"][1]
    assert found["mlproject"] == [0, "", ""]
    entries = yaml.safe_load((folder / "MLproject").read_text())["entry_points"]
    assert entries["my-own"] == {"command": "python -m experiments my-own"}


@pytest.mark.long  # tests/tracking/test_resume.py runs one too
@pytest.mark.parametrize(
    ("module", "code", "said"),
    [
        ("experiments.cnnv3_configs", 0, "Usage: python -m experiments cnnv3-configs [OPTIONS]"),
        ("experiments.nothing", 2, "No such command 'nothing'."),
    ],
)
def test_a_file_of_an_experiment_can_be_run(module, code, said):
    result = python(PROJECT, "-m", module, "--help")
    assert result.returncode == code
    assert said in result.stdout + result.stderr
