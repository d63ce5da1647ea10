"""The ``MLproject`` file, generated so that nobody has to list the entry points by hand."""

from collections.abc import Iterable

HEAD = """\
# Written by `make mlproject` from the files in experiments/.
#
# No parameters are declared here: every one that an entry point knows can be given with -P, spelled with
# _ or -, and its default stands in its file alone. `tp1 NAME --help` lists them.
name: tp1

conda_env: conda.yaml

entry_points:
"""


def render_mlproject(entry_points: Iterable[str]) -> str:
    """Return the text of ``MLproject``.

    Args:
        entry_points: The names of the entry points, such as ``cnnv3``.
    """
    return HEAD + "".join(f'  {name}:\n    command: "python -m experiments {name}"\n' for name in sorted(entry_points))
