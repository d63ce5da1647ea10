"""Lists of runs that are done one after another."""
