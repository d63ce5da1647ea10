"""Plain text that is to stand in Markdown."""

import re
from textwrap import indent

from tp1.base.names import printable, printable_lines


def indented(command: str) -> str:
    """A command as an indented code block in Markdown; each line of a multi-line value is indented too."""
    return indent(printable_lines(command), "    ", lambda line: True)


def escape_markdown(text: str) -> str:
    """Escape plain text for Markdown: one line, without markup, HTML or table cells."""
    return re.sub(r"([\\`*_\[\]<>|#&~])", r"\\\1", printable(" ".join(text.splitlines())))
