"""What stands beside the code is valid, and agrees with it."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import tp1

PROJECT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("github-workflows", ".github/workflows/*.yml"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/*.yml"),
        ("dependabot", ".github/dependabot.yml"),
        ("citation-file-format", "CITATION.cff"),
    ],
)
def test_it_is_valid(schema, files):
    found = sorted(PROJECT.glob(files))
    assert found
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *map(str, found)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_the_citation_has_the_version():
    assert f"\nversion: {tp1.__version__}\n" in (PROJECT / "CITATION.cff").read_text(encoding="utf-8")


def test_tested_versions_are_complete_and_allowed():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = project["dependency-groups"]
    listed = [*project["project"]["dependencies"], *groups["docs"], *groups["dev"]]
    wanted = [Requirement(one) for one in listed if isinstance(one, str)]
    text = (PROJECT / "requirements-tested.txt").read_text(encoding="utf-8")
    tested = {
        canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)$", text, re.MULTILINE)
    }
    lacking = [one.name for one in wanted if canonicalize_name(one.name) not in tested]
    assert lacking == []
    assert [str(one) for one in wanted if not one.specifier.contains(tested[canonicalize_name(one.name)])] == []
