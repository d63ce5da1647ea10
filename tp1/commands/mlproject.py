"""The ``MLproject`` file, written from the entry points so that nothing has to be listed by hand."""

from collections.abc import Mapping

HEAD = """\
# Written by `make mlproject` from the modules in experiments/.
#
# No parameters are declared here: every one that an entry point knows can be given with -P, spelled with
# _ or -, and its default stands in its module alone. `tp1 NAME --help` lists them.
name: tp1

conda_env: conda.yaml

entry_points:
"""


def render(entry_points: Mapping[str, str]) -> str:
    """The file's text.

    Args:
        entry_points: Module by entry point, such as ``cnnv3``: ``experiments.cnnv3``.
    """
    return HEAD + "".join(
        f'  {name}:\n    command: "python -m {module}"\n' for name, module in sorted(entry_points.items())
    )
