"""Records of runs that somebody else has written down, and damaged: refused in one clear line, or the same."""

# ruff: noqa: PT017 - a damaged file may also be read, so an error is looked at where there is one

import json
import shutil
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import PROJECT
from tests.support.generated_cases import quick
from tests.support.hostile_files import is_clear, mutated
from tp1.base.digests import from_tag
from tp1.base.errors import TP1Error
from tp1.commands.reference import read_record

RECORDED = PROJECT / "reference" / "cifar10" / "cnnv3-s0"


def test_a_damaged_record_is_refused_or_the_same(tmp_path):
    """``tp1 import`` takes runs that somebody else has written down."""
    shutil.copytree(RECORDED, tmp_path / "record")
    files = {name: (RECORDED / name).read_bytes() for name in ("run.json", "metrics.json")}
    facts = json.loads(files["run.json"])
    wrong = [{key: value} for key in facts for value in (None, 7, [], {"a": 1}, [[1]], "", "\0", {"a": None})]
    changed = st.sampled_from(wrong).map(lambda change: json.dumps(facts | change).encode())

    @quick(40)
    @given(
        st.one_of(
            changed.map(lambda content: ("run.json", content)),
            *(mutated(content).map(partial(_pair, name)) for name, content in files.items()),
        )
    )
    def check(case):
        name, content = case
        (tmp_path / "record" / name).write_bytes(content)
        try:
            record = read_record(tmp_path / "record")
        except TP1Error as error:
            assert is_clear(error)
        else:
            assert record.run_id != ""
            assert all(type(value) is str for value in (record.params | record.tags).values())
        finally:
            (tmp_path / "record" / name).write_bytes(files[name])

    check()


def _pair(name: str, content: bytes) -> tuple[str, bytes]:
    return name, content


@pytest.mark.parametrize("value", ["{", "[]", "7", "null", '"x"', "[" * 100_000])
def test_recorded_digests_that_are_none_are_said(value):
    with pytest.raises(TP1Error, match=r"the tag tp1\.model_sha256 is damaged"):
        from_tag(value)
