"""What a run ran on: packages, machine, and the state of the code."""

import importlib.metadata
import platform
import subprocess
from functools import cache
from pathlib import Path

import tp1


def git_state() -> dict[str, str]:
    """Return the tags ``tp1.git_commit`` and ``tp1.git_dirty`` (``true`` or ``false``) of this code.

    Dirty means that ``tp1/`` or ``experiments/`` differ from the commit or contain untracked files. Outside a git
    checkout of this project both tags are ``unknown``.
    """
    root = Path(tp1.__file__).resolve().parent.parent
    if _git(root, "rev-parse", "--show-toplevel") != str(root):  # such as an installation inside another repository
        return {"tp1.git_commit": "unknown", "tp1.git_dirty": "unknown"}
    changes = _git(root, "status", "--porcelain", "--", "tp1", "experiments")
    dirty = "unknown" if changes is None else str(bool(changes)).lower()
    return {"tp1.git_commit": _git(root, "rev-parse", "HEAD") or "unknown", "tp1.git_dirty": dirty}


def describe_environment(device: str) -> str:
    """Return Python, platform and processor as comment lines, then each installed package as ``name==version``."""
    head = [f"# Python {platform.python_version()}", f"# {platform.platform()}", f"# {device}"]
    return "\n".join([*head, *_packages()]) + "\n"


@cache  # reading hundreds of files takes a fifth of a second, and a command may train many runs
def _packages() -> tuple[str, ...]:
    packages = {f"{dist.metadata['Name']}=={dist.version}" for dist in importlib.metadata.distributions()}
    return tuple(sorted(packages, key=str.lower))


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()
