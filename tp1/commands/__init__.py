"""The command line: the commands (made with click) and the tools that they run."""
