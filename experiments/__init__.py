"""The experiments, one short file each. To add an experiment, add a file (CONTRIBUTING.md).

``python -m experiments cnnv3`` runs one. So does ``python -m experiments.cnnv3``, which needs the code below: the files
only define values, and would do nothing when run.
"""

import sys

if sys.argv[:1] == ["-m"]:  # Python is still locating the module of -m; its arguments follow
    _module = sys.orig_argv[-len(sys.argv)].removeprefix("-m")
    if _module.startswith("experiments.") and _module != "experiments.__main__":
        from experiments.__main__ import main

        _name = _module.removeprefix("experiments.")
        main([_name.replace("_", "-"), *sys.argv[1:]], prog_name="python -m experiments")
