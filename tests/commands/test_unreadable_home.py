"""A home directory that cannot be read, as of another user: one line, and never that there is nothing in it."""

import os

import pytest

from tests.conftest import invoke
from tp1.base.errors import TP1Error
from tp1.tracking.run_folders import folders


@pytest.fixture
def closed_home(store, tmp_path, monkeypatch):
    """Root may read anything, so that a system call says what it would say to others."""
    home = tmp_path / "home"
    real = os.scandir

    def scandir(path="."):
        if str(path).startswith(str(home)):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setenv("HOME", str(home))
    for name in ("TP1_STATE_DIR", "TP1_CACHE_DIR", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.mark.parametrize(
    ("arguments", "variable"),
    [
        (("runs",), "TP1_STATE_DIR"),
        (("sync",), "TP1_STATE_DIR"),
        (("cnn-base", "dataset=digits", "resume=auto"), "TP1_STATE_DIR"),
        (("cache",), "TP1_CACHE_DIR"),
        (("cache", "--clear"), "TP1_CACHE_DIR"),
    ],
    ids=str,
)
def test_a_home_that_cannot_be_read_is_said_in_one_line(closed_home, arguments, variable):
    result = invoke(*arguments)
    assert result.exit_code == 1
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("Error"))
    assert line.startswith(f"Error: cannot read {closed_home}/")
    assert "(Permission denied): make it readable for you, or name another folder" in line
    assert line.endswith(f"the environment variable {variable}.")
    assert "Traceback" not in result.stderr


def test_no_answer_is_not_no_runs(closed_home):
    with pytest.raises(TP1Error, match="cannot read"):
        folders()
