"""What is run: one short file for each experiment. To add an experiment, add a file (CONTRIBUTING.md).

``python -m experiments cnnv3`` runs one, and so does ``python -m experiments.cnnv3``: a file of this folder is a value,
and would otherwise do nothing when it is run.
"""

import sys

if sys.argv[:1] == ["-m"]:  # Python is about to look for the module that -m names; the arguments stand behind it
    _module = sys.orig_argv[-len(sys.argv)].removeprefix("-m")
    if _module.startswith("experiments.") and _module != "experiments.__main__":
        from experiments.__main__ import main

        _name = _module.removeprefix("experiments.")
        main([_name.replace("_", "-"), *sys.argv[1:]], prog_name="python -m experiments")
