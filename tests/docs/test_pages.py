"""What the pages show can be typed as it stands: commands, parameters, targets, messages."""

import re
from itertools import pairwise

import click
import pytest
import yaml

from experiments.__main__ import main
from tests.conftest import PROJECT
from tests.support.pages import blocks, commands, pages

TARGETS = {
    *re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE),
    *yaml.safe_load((PROJECT / "MLproject").read_text(encoding="utf-8"))["entry_points"],
}
# Experiments that a page shows how to write: its own run has them.
OF_THE_PAGES = {
    name for page in pages() for block in blocks(page) for name in re.findall('^    name="(.*)"', block.text, re.M)
}
# Programs that are not this project's: the pages' own runs show that they work.
OTHERS = {"python", "docker", "export", "read", "pytest", ".", "curl", "pip", "ray"}


SHOWN = [
    pytest.param(words, id=f"{page.relative_to(PROJECT)}: {' '.join(words)[:70]}")
    for page in pages()
    for block in blocks(page)
    if block.kind == "sh"
    for words in commands(block.text)
]


@pytest.mark.parametrize("words", SHOWN)
def test_a_command_is_there_and_has_its_parameters(words):
    program, *arguments = words
    if program == "mlflow" and arguments[0] == "run":
        assert arguments[1] == "."
        name = arguments[arguments.index("-e") + 1] if "-e" in arguments else "main"
        parse([name, *(value for key, value in pairwise(arguments) if key == "-P")])
    elif program == "tp1" or words[:3] == ["python", "-m", "experiments"]:
        parse(arguments if program == "tp1" else words[3:])
    elif program == "make":
        made = [word for word in arguments if "=" not in word]
        assert set(made) <= TARGETS
    else:
        assert program in OTHERS or words[:2] in (["mlflow", "ui"], ["mlflow", "models"])


def parse(arguments):
    """Parse as the command line does, without doing anything."""
    name, *given = arguments
    if name.startswith("--") or name in OF_THE_PAGES:
        return
    command = main.commands[name]
    try:
        command.make_context(name, given)
    except click.exceptions.Exit:
        assert "--help" in given


@pytest.mark.parametrize("page", pages(), ids=lambda path: str(path.relative_to(PROJECT)))
def test_every_block_says_what_it_is(page):
    kinds = {block.kind for block in blocks(page)}
    known = {"sh", "text", "ini", "python", "{code-block} python", "{toctree}", "{eval-rst}"}
    assert {kind for kind in kinds if not kind.startswith("{include} ../")} <= known


def test_every_message_that_is_explained_is_one_of_ours():
    code = "".join(path.read_text(encoding="utf-8") for path in sorted((PROJECT / "tp1").rglob("*.py")))
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # a message may stand on several lines
    code = re.sub(r"\{[^{}]*\}", "...", code)
    headings = re.findall(r"^## (.*)$", (PROJECT / "docs" / "faq.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(headings) > 10
    for heading in headings:
        for part in re.split(r"\.\.\.|'\w+'|: training stopped", heading):
            assert part.strip() in code, heading
