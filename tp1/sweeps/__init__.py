"""Lists of runs that are done one after another, and sweeps, which propose their runs."""
