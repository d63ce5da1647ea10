"""The ``tp1`` command, also as ``python -m experiments NAME``: runs every experiment and tool."""

from experiments.catalog import load_catalog
from tp1.commands.group import RESERVED, command_group

main = command_group(*load_catalog(RESERVED))

if __name__ == "__main__":
    main(prog_name="python -m experiments")
