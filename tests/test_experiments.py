"""The files in experiments/ and those that must agree with them."""

import ast
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from functools import partial

import pytest
import torch
import yaml
from mlflow.utils.environment import _PythonEnv

from experiments.published import report
from tests.conftest import PROJECT
from tests.support.catalog import catalog
from tp1.commands.group import entry_points
from tp1.commands.mlproject import render_mlproject
from tp1.experiment import Experiment, Study, Transfer, experiments_of
from tp1.models.classifier import Classifier, Preparation
from tp1.models.networks import SMALLEST

EXPERIMENTS = catalog()


def test_mlproject_is_what_the_catalog_says():
    assert (PROJECT / "MLproject").read_text() == render_mlproject(entry_points(EXPERIMENTS)), "run `make mlproject`"
    assert yaml.safe_load((PROJECT / "MLproject").read_text())["conda_env"] == "conda.yaml"


def test_nothing_silently_wins_over_conda_yaml():
    assert not (PROJECT / "python_env.yaml").exists()


def test_conda_yaml_has_the_requirements_of_pyproject():
    wanted = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
    conda = yaml.safe_load((PROJECT / "conda.yaml").read_text())
    assert conda["channels"] == ["conda-forge"]
    assert conda["dependencies"][-1]["pip"] == wanted


def test_mlflow_finds_python_and_the_requirements_in_conda_yaml_without_conda():
    """What `--env-manager uv` and `virtualenv` install."""
    environment = _PythonEnv.from_conda_yaml(PROJECT / "conda.yaml")
    assert environment.python.startswith("3.11")
    assert "mlflow>=3.17,<3.19" in environment.dependencies


def test_the_makefile_has_a_target_for_every_entry_point():
    names = yaml.safe_load((PROJECT / "MLproject").read_text())["entry_points"]
    shown = subprocess.run(["make", "-n", *names], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert {line.rpartition(" ")[2] for line in shown.splitlines() if "mlflow run" in line} == set(names)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_an_experiment_is_a_short_file_that_says_what_it_claims(experiment: Experiment | Study):
    path = PROJECT / "experiments" / f"{experiment.name.replace('-', '_')}.py"
    text = path.read_text()
    assert len(text.splitlines()) < (30 if isinstance(experiment, Experiment) else 35), f"{path.name} is too long"
    docstring = ast.get_docstring(ast.parse(text)) or ""
    repeat = f"Repeat: mlflow run . -e {experiment.name}"
    assert repeat in docstring, f"the docstring of {path.name} has no line `{repeat}`"
    published = [value for part in experiments_of(experiment) for value in part.published.metrics().values()]
    if not published:
        return
    assert "Claims:" in docstring, f"the docstring of {path.name} does not say what was published"
    claims = {number for value in published for number in (f"{value:g}", f"{value:.2f}")}
    stated = set(re.findall(r"\b0\.\d+|\b1\.\d{4}", docstring.split("Claims:")[1]))
    assert stated, "the docstring claims nothing"
    assert stated <= claims, "the docstring claims a figure that is not published"


OWN_NETWORKS = {  # not torchvision's, which nobody changes here
    experiment.model_name: experiment
    for entry in EXPERIMENTS
    for experiment in experiments_of(entry)
    if not isinstance(experiment.model, Transfer) and experiment.model_name not in SMALLEST
}


@pytest.mark.parametrize("experiment", OWN_NETWORKS.values(), ids=OWN_NETWORKS)
def test_a_network_can_be_exported(experiment):
    """A run exports its model after training: too late to learn that it cannot be."""
    classes, side = ("a", "b", "c"), experiment.config.image_size or 32
    net = experiment.model(len(classes), side, experiment.config.dropout)
    model = Classifier(net, classes, Preparation(side, (0.5,) * 3, (0.25,) * 3)).eval()
    images = torch.zeros((2, side, side, 3), dtype=torch.uint8)
    program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    assert program.module()(torch.cat([images, images])).shape == (4, 3)


@pytest.mark.parametrize(
    "name", ["cnn-base", "cnnv3", "alexnet-scratch", "mobilenetv2-scratch", "mobilenetv2-pretrained"]
)
def test_published_reports_are_whole(name):
    table = report(name)
    assert len(table["per_class"]) == 10
    assert sum(row["support"] for row in table["per_class"].values()) == table["support"]
    mean = sum(row["f1"] for row in table["per_class"].values()) / 10
    assert mean == pytest.approx(table["macro_avg"]["f1"], abs=0.01)


@pytest.mark.parametrize(
    "steps",
    [
        {"tp1.training.loop": ["mlflow", "click", "matplotlib"]},  # the loop knows neither tracking nor a command line
        {  # seconds of every command's start, and 500 MB; then of every run's
            "experiments.__main__": ["torch", "torchvision", "sklearn"],
            "tp1.run": ["torchvision", "sklearn", "torch._dynamo"],
        },
    ],
    ids=["loop", "run"],
)
def test_what_a_module_does_not_import(steps):
    code = "import sys\n" + "\n".join(
        f"import {module}; print([name for name in {others} if name in sys.modules])"
        for module, others in steps.items()
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["[]"] * len(steps)


def test_any_function_can_be_a_model():
    class Made:
        def __call__(self, classes, image_size, dropout): ...

    cnnv3 = next(entry for entry in EXPERIMENTS if entry.name == "cnnv3")
    assert replace(cnnv3, model=partial(cnnv3.model, dropout=0.1)).model_name == "cnnv3"
    assert replace(cnnv3, model=Made()).model_name == "Made"
