"""The commands and files that README and the pages of docs/ show, read from the pages themselves."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import PROJECT

_BLOCK = re.compile(r"^```(.*)\n((?:.*\n)*?)^```$", re.MULTILINE)
_HERE_DOCUMENT = re.compile(r"<<'(\w+)'.*?^\1$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """What stands between two fences.

    Attributes:
        kind: What follows the first fence, such as ``sh``.
        caption: Of a block of code: the file that it belongs to; else empty.
        text: The content.
    """

    kind: str
    caption: str
    text: str


def pages() -> list[Path]:
    """README, and every page that is written by hand and says how to do something."""
    docs = PROJECT / "docs"
    written = [path for path in docs.rglob("*.md") if path.name not in ("RESULTS.md", "LOG.md", "BENCHMARKS.md")]
    return [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted(written)]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = []
    for kind, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
        caption = re.match(r":caption: (.*)\n\n", text)
        found.append(Block(kind, caption[1] if caption else "", text[caption.end() :] if caption else text))
    return found


def commands(shell: str) -> list[list[str]]:
    """The words of each command of a shell block, without comments, here-documents and variables set before it."""
    text = re.sub(r"(^|\s)#\s.*", "", _HERE_DOCUMENT.sub("", shell)).replace("\\\n", " ")
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("|&;\n"):
            found.append([])
        elif found[-1] or not re.match("[A-Z_0-9]+=", word):
            found[-1].append(word)
    return [words for words in found if words]
