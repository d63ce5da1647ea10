"""Bad parameters by the hundred: the real command refuses each in one line, and leaves no run FINISHED or RUNNING."""

import math
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import PROJECT, invoke
from tests.support.generated_cases import quick
from tp1.base.names import LONGEST_LINE, is_folder
from tp1.config import (
    CLASS_WEIGHTS,
    COMPILATIONS,
    DEVICES,
    DROP_DUPLICATES,
    PARAMETERS,
    PRECISIONS,
    SKIP_BROKEN,
    TEST_FROM,
    TRANSFORMS,
    VIEWS,
)
from tp1.recipe import OPTIMIZERS, SCHEDULES

ANY = st.characters(exclude_categories=())  # control characters, NUL and halves of surrogate pairs among them
TEXT = st.one_of(
    st.text(ANY, max_size=12),
    st.text("\0\a\b\t\n\r\x1b[2J31m\x7f\x9b\u2028\u202e\udcff'\"`<>|$%{}\\ a0", min_size=1, max_size=12),
    st.sampled_from(["", " ", "\0", "\x1b]0;title\a", "a\nb", "\udcff", "<script>", "--", "'; drop table runs; --"]),
    st.text(ANY, min_size=1, max_size=3).map(lambda text: (text * 10_000)[:10_000]),
)


def refused(*arguments: str) -> str:
    """What the command says in refusing them."""
    result = invoke(*arguments)
    assert result.exit_code in (1, 2), (arguments, result.output, result.exception)
    assert isinstance(result.exception, SystemExit), arguments
    (line,) = result.stderr.split("\n")[:-1]
    assert line.startswith("Error: ")
    assert len(line) <= LONGEST_LINE + 60
    assert line.isprintable()
    assert not any(trace in line for trace in ("Traceback", "the whole story", "MLflow:")), line
    assert "Traceback" not in result.stdout
    return line


@pytest.fixture
def all_fail(store, tmp_path):
    """Every run of the test's store has ended, and none well."""
    yield
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        found = dict(database.execute("select status, count(*) from runs group by status"))
    assert set(found) == {"FAILED"}, found


def as_number(text: str, kind: type) -> float | None:
    try:
        return kind(text)
    except ValueError:
        return None


def no_number(kind: type) -> st.SearchStrategy[str]:
    wholes = ["1.5", "1e3", "0x10", "1,2", "²", "½", "Ⅷ", "None", "True", "9" * 5000]
    others = wholes if kind is int else ["1,5", "--1", "1e", "0x1p-3"]
    return st.one_of(TEXT, st.sampled_from(others)).filter(lambda text: as_number(text, kind) is None)


OUT_OF_RANGE = {
    "image_size": st.one_of(st.integers(max_value=7), st.integers(min_value=1025), st.just(10**400)),
    "epochs": st.one_of(st.integers(max_value=0), st.integers(min_value=2**31), st.just(10**400)),
    "batch_size": st.one_of(st.integers(max_value=0), st.integers(min_value=2**31), st.just(10**400)),
    "seed": st.one_of(st.integers(max_value=-1), st.integers(min_value=2**63), st.just(-(10**400))),
    "learning_rate": st.one_of(st.floats(max_value=0), st.sampled_from([math.nan, math.inf, "1e999", "9" * 10_000])),
    "dropout": st.one_of(st.floats(min_value=1), st.floats(max_value=-1e-300), st.just(math.nan)),
    "weight_decay": st.one_of(st.floats(max_value=-1e-300), st.sampled_from([math.nan, math.inf, "1e999"])),
    # Of another optimiser and schedule than cnn-base's: whatever the value.
    **dict.fromkeys(("momentum", "adam_rate", "warmup"), st.floats()),
    **dict.fromkeys(("label_smoothing", "averaging"), st.one_of(st.floats(min_value=1), st.just(math.nan))),
}
NUMBERS = {name: int if name in ("image_size", "epochs", "batch_size", "seed") else float for name in OUT_OF_RANGE}
CHOICES = {
    "augment": ("none", "flip-crop", *TRANSFORMS),
    "device": DEVICES,
    "precision": PRECISIONS,
    "compile": COMPILATIONS,
    "optimizer": tuple(OPTIMIZERS),
    "schedule": tuple(SCHEDULES),
    "tta": VIEWS,
    "class_weights": CLASS_WEIGHTS,
    "test_from": TEST_FROM,
    "skip_broken": SKIP_BROKEN,
    "drop_duplicates": DROP_DUPLICATES,
}
DEVICES_THAT_ARE_NOT = ["cpu:1", "cpu:-1", "cuda:99", f"cuda:{'9' * 400}", "cuda:x", "auto:0", "mps:", "CPU", "cpu:\n"]


def test_every_field_is_tested():
    assert set(PARAMETERS) == {*NUMBERS, *CHOICES, "dataset", "data_dir", "weights"}


@pytest.mark.usefixtures("all_fail")
@pytest.mark.parametrize("name", list(NUMBERS))
def test_what_is_no_number_or_out_of_its_range(name):
    @quick(16)
    @given(st.one_of(no_number(NUMBERS[name]), OUT_OF_RANGE[name].map(str)))
    def check(value):
        line = refused("cnn-base", "dataset=digits", *(["epochs=1"] if name != "epochs" else []), f"{name}={value}")
        assert name in line.replace("-", "_")

    check()


@pytest.mark.usefixtures("all_fail")
@pytest.mark.parametrize("name", list(CHOICES))
def test_what_is_none_of_the_choices(name):
    others = TEXT if name != "device" else st.one_of(st.sampled_from(DEVICES_THAT_ARE_NOT), TEXT)

    @quick(12)
    @given(others.filter(lambda text: text.split(":")[0] not in CHOICES[name] or text in DEVICES_THAT_ARE_NOT))
    def check(value):
        assert name in refused("cnn-base", "dataset=digits", "epochs=1", f"{name}={value}")

    check()


@pytest.mark.usefixtures("all_fail")
@pytest.mark.parametrize("name", ["dataset", "data_dir", "weights"])
def test_paths_that_lead_nowhere(name):
    known = ("digits", "cifar10", "eurosat", "none", "imagenet")
    paths = st.one_of(
        TEXT,
        st.sampled_from(["/", "~nobody-of-this-name/x", "/dev/null", "/dev/zero/x", "../" * 2000, "models:/"]),
        st.text(ANY, max_size=5).map(lambda text: f"models:/{text}"),
    )

    @quick(20)
    @given(paths.filter(lambda text: text not in known and (name != "dataset" or not is_folder(Path(f"./{text}")))))
    def check(value):
        others = {"dataset": ["epochs=1"], "data_dir": ["dataset=nothing"], "weights": ["dataset=digits", "epochs=1"]}
        refused("cnn-base", *others[name], f"{name}={value}")

    Path("data").mkdir()
    check()


@pytest.mark.usefixtures("all_fail")
def test_names_that_are_none():
    known = {name.replace("_", "") for name in PARAMETERS} | {"seeds", "verbose", "help"}

    @quick(25)
    @given(TEXT.filter(lambda text: text.partition("=")[0].replace("-", "").replace("_", "") not in known), TEXT)
    def check(name, value):
        refused("cnn-base", "dataset=digits", "epochs=1", f"{name}={value}" if name.strip("-") else f"x{value}=1")

    check()


@pytest.mark.usefixtures("all_fail")
def test_lists_of_seeds_and_of_names():
    def no_seeds(text: str) -> bool:
        numbers = [as_number(part, int) for part in text.split(",")]
        return any(number is None or not 0 <= number < 2**63 for number in numbers)

    seeds = st.one_of(TEXT, st.sampled_from([",", "1,,2", "0,-1", "0,1,x", f"0,{10**400}", "1.0"])).filter(no_seeds)
    names = TEXT.filter(lambda text: text not in ("c1", "c2", "c3", "c4"))

    @quick(35)
    @given(
        st.one_of(
            seeds.map(lambda text: ("cnnv3", "dataset=nothing", f"seeds={text}")),
            names.map(lambda text: ("cnnv3-configs", "dataset=nothing", f"configurations={text}")),
            names.map(lambda text: ("main", f"only={text}")),
            names.map(lambda text: ("compare", f"experiments={text}")),
        )
    )
    def check(arguments):
        refused(*arguments)

    check()


@pytest.mark.parametrize(
    "value", ["x" * 10_000, "~nobody-of-this-name/x", "a\0b", "\udcff\x1b[31m", "", ",", "../" * 3000]
)
@pytest.mark.parametrize("option", ["images", "model"])
def test_paths_to_predict_that_lead_nowhere(tmp_path, monkeypatch, option, value):
    monkeypatch.chdir(tmp_path)
    Path("one.png").touch()
    refused("predict", *(["images=one.png"] if option == "model" else ["model=m"]), f"{option}={value}")


@pytest.mark.long
def test_a_name_that_is_no_text_ends_the_process_with_a_failed_run(store, tmp_path):
    """MLflow ends a run that is still active when the process ends, and takes it for FINISHED."""
    command = [sys.executable, "-m", "experiments.cnn_base", b"dataset=/tmp/\xff\x1b[31m", "epochs=1"]
    result = subprocess.run(command, cwd=PROJECT, env={**os.environ}, capture_output=True, timeout=120)
    assert result.returncode == 1
    assert result.stderr.startswith(b"Error: dataset=/tmp/\\udcff\\x1b[31m is not usable")
    assert result.stderr.count(b"\n") == 1
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        assert [*database.execute("select status from runs")] == [("FAILED",)]
