"""Images, classes and data sets of any name: they are taken, or refused in one clear line."""

# ruff: noqa: PT017 - some names are refused, and others taken

import json
import os
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name

from tests.support.generated_cases import quick
from tests.support.hostile_files import FILE_NAMES, is_clear
from tp1.base.errors import TP1Error
from tp1.data.cache_folder import entries
from tp1.data.class_names import RESERVED, label_names, metric_names
from tp1.data.dataset import load_data
from tp1.data.file_kinds import is_junk
from tp1.data.sources import find_source


def test_images_of_any_name_are_read_and_shown_as_text(small, tmp_path):
    @quick(40)
    @given(FILE_NAMES)
    def check(name):
        path = small / "a" / f"x{name}"[:80]
        path = path.with_name(f"{path.name}.png")
        shutil.copy(small / "b" / "000.png", path)
        try:
            data = load_data(str(small))
            assert sum(map(len, (data.train, data.val, data.test))) == 11
            (entry,) = [entry for entry in entries(tmp_path / "cache") if data.digest in entry.name]
            assert f"a/{path.name}" in json.loads((entry.path / "meta.json").read_text())["names"]
            assert load_data(str(small)).split_digest == data.split_digest
            path.write_bytes(b"")
            with pytest.raises(TP1Error) as error:
                load_data(str(small))
            assert is_clear(error.value)
        finally:
            path.unlink()

    check()


def test_classes_of_any_name_are_taken(small):
    @quick(40)
    @given(
        st.one_of(FILE_NAMES, st.sampled_from(["c" * 201, "accuracy", "é" * 100, "x" * 200])).filter(
            lambda name: name not in (".", "..", "a")
        )
    )
    def check(name):
        name = name if len(os.fsencode(name)) < 255 else name[:60]
        (small / "b").rename(small / name)
        try:
            data = load_data(str(small))
            assert name in data.classes
            for metric in metric_names(data.classes):
                _validate_metric_name(f"test/precision/{metric}")
                assert len(f"test/precision/{metric}") <= 250
            assert not set(label_names(data.classes)) & set(RESERVED)
        except TP1Error as error:
            assert is_clear(error)
            # A name that is junk leaves a single class.
            assert "rename the class folder" in str(error) if not is_junk(name) else "1 class folders" in str(error)
        finally:
            (small / name).rename(small / "b")

    check()


def test_data_sets_of_any_name_are_taken_or_refused(small, tmp_path):
    @quick(25)
    @given(
        st.one_of(FILE_NAMES, st.sampled_from(["\u00e9" * 120, "$x_{$", "a" * 255])).filter(
            lambda name: name not in (".", "..")
        )
    )
    def check(name):
        name = name if len(os.fsencode(name)) <= 255 else name[:60]
        (tmp_path / "above" / name).parent.mkdir(exist_ok=True)
        small.rename(tmp_path / "above" / name)
        try:
            assert load_data(f"above/{name}").name == name
        except TP1Error as error:
            assert is_clear(error)
            assert "rename the image folder" in str(error)
        finally:
            (tmp_path / "above" / name).rename(small)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(tmp_path)
        check()


def test_a_data_set_below_a_file_or_of_a_name_too_long(tmp_path):
    (tmp_path / "file").touch()
    for name in ("file/x", "x" * 5000, "./" + "x" * 300, "~nobody-of-this-name"):
        with pytest.raises(TP1Error, match="no data set"):
            find_source(name, tmp_path)
