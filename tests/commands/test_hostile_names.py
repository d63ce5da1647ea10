"""Commands that the platform shows and takes hold names of any kind unchanged."""

import shlex

import pytest
from hypothesis import given

from tests.conftest import all_runs, invoke, write_folder
from tests.support.catalog import catalog
from tests.support.generated_cases import quick
from tests.support.hostile_texts import TEXT
from tp1.base.names import printable, whole_number
from tp1.commands.parameters import as_command
from tp1.config import HYPERPARAMETERS, TrainConfig, differences, hyperparameters


def test_commands_give_back_what_was_given():
    @quick(20)
    @given(TEXT)
    def check(text):
        command = as_command("cnnv3", {"dataset": text})
        assert shlex.split(command) == ["mlflow", "run", ".", "-e", "cnnv3", "-P", f"dataset={text}"]
        params = dict.fromkeys(HYPERPARAMETERS, text)
        assert set(hyperparameters(params)) == set(HYPERPARAMETERS)
        differences(TrainConfig(), params)
        assert whole_number(text) is None or text.isdecimal()

    check()


@pytest.mark.long
def test_a_data_set_whose_name_looks_like_a_formula_is_trained_on(store, tmp_path):
    write_folder(tmp_path / "$x_{$ <b>'", per_class=6)
    result = invoke("cnn-base", "dataset=./$x_{$ <b>'", "epochs=1", "batch_size=8")
    assert result.exit_code == 0, result.stderr
    (run,) = all_runs()
    assert run.data.tags["tp1.dataset"] == "$x_{$ <b>'"
    assert "on $x\\_{$ \\<b\\>'" in run.data.tags["mlflow.note.content"]


def test_every_experiment_is_still_known():
    assert all(printable(entry.name) == entry.name for entry in catalog())
