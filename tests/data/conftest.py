"""Fixtures of the tests of data."""

from pathlib import Path

import pytest

from tests.conftest import write_folder


@pytest.fixture
def small(tmp_path) -> Path:
    """Two classes of five images."""
    return write_folder(tmp_path / "small", per_class=5, side=8, classes="ab")
