"""The command line: click, and every tool."""
