"""Any text of a run is shown as text: on a page, in Markdown, on a terminal, in CSV and in a figure."""

import csv
import io
import re
from dataclasses import replace

import pytest
from hypothesis import given
from markdown_it import MarkdownIt
from mlflow import MlflowClient

from tests.conftest import PROJECT, invoke
from tests.support.generated_cases import quick
from tests.support.hostile_texts import SHORT, TEXT
from tests.support.made_runs import experiment_of, make_run
from tests.support.page_reader import Reader
from tp1.base.errors import TP1Error
from tp1.base.names import LONGEST_LINE, message_line
from tp1.base.progress import say
from tp1.commands.parameters import as_command
from tp1.commands.reference import read_record
from tp1.config import TrainConfig
from tp1.report.figure_files import plain_svg
from tp1.report.figures import class_distribution, compared_curves, curves
from tp1.report.model_card import model_card
from tp1.report.notes import describe_run
from tp1.report.page import Code, Command, Link, Number, Page, Paragraph, Section, Table
from tp1.report.page_html import to_html
from tp1.report.page_markdown import to_markdown
from tp1.report.terminal import print_table
from tp1.sweeps.jobs import Outcome, describe_outcomes


def page(text: str) -> Page:
    """Text wherever it may stand; figures are dear, and have tests of their own."""
    blocks = [
        Paragraph([text]),
        Paragraph([text, Code(text), Link(text, f"http://127.0.0.1/{text}")]),
        Command(text, title=text, missing=True),
        Table([text, "n"], [[text, Number("1.0", 1.0)], [Link(text, "x"), Code(text)]], text, groups=[(text, 2)]),
    ]
    return Page(text, "en", [text], [Section("one", text, blocks), Section("two", "Two", [])])


def rendered(markdown: str) -> list[str]:
    return re.findall(r"<[a-z0-9]+", MarkdownIt("commonmark").enable("table").render(markdown))


def test_pages_show_any_text_as_text():
    plain = Reader(to_html(page("word")))

    @quick(60)
    @given(TEXT)
    def check(text):
        html = to_html(page(text))
        hostile = Reader(html)
        assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
        ours = ["class", "wordy"]  # on cells of many words
        assert [sorted({*attrs} - {*ours}) for _, attrs in hostile.tags] == [
            sorted({*attrs} - {*ours}) for _, attrs in plain.tags
        ]
        assert all(letter.isprintable() or letter == "\n" for letter in html)
        html.encode()

    check()


def test_markdown_shows_any_text_as_text():
    plain = rendered(to_markdown(page("word"), "figures")[0])

    @quick(80)
    @given(SHORT)
    def check(text):
        markdown, _ = to_markdown(page(text), "figures")
        assert rendered(markdown) == plain
        assert all(letter.isprintable() or letter == "\n" for letter in markdown)

    check()


def test_a_terminal_is_never_told_to_do_anything(capsys):
    @quick(30)
    @given(TEXT)
    def check(text):
        print_table(Table(["a", "b"], [[text, Number(text, 1.0)], [Code(text), Link(text, text)]]))
        say(text)
        shown = capsys.readouterr().out
        assert all(letter.isprintable() or letter == "\n" for letter in shown)
        assert "\x1b" not in repr(TP1Error(text).args[0]).replace("\\x1b", "")
        assert len(message_line(text)) <= LONGEST_LINE + 40

    check()


def test_notes_and_cards_show_any_text_as_text():
    experiment, config = experiment_of("cnnv3"), TrainConfig()
    record = read_record(PROJECT / "reference" / "cifar10" / "cnnv3-s0")

    def notes(text: str) -> list[str]:
        command = as_command("cnnv3", {"dataset": text})
        outcomes = [Outcome("cnnv3-s0", "failed", text), Outcome("cnnv3-s1", "finished", "well")]
        named = replace(record, name=f"{text}-s0", tags=record.tags | {"tp1.dataset": text})
        return [
            describe_run(experiment, config, text, command),
            describe_outcomes("cnnv3", outcomes, command),
            model_card("tp1-cifar10 version 1", named, experiment, (32, 32, 3), 1),
        ]

    plain = [rendered(note) for note in notes("word")]

    @quick(30)
    @given(SHORT)
    def check(text):
        assert [rendered(note) for note in notes(text)] == plain

    check()


@pytest.mark.parametrize("text", ["$x_{$", "$$", r"\$a$ \frac{", "a\nb\x1b[31m", "n" * 10_000, "日本", "&<>\"'--"])
def test_figures_take_any_title(text):
    history = {f"{part}/{name}": [0.5, 0.6] for part in ("train", "val") for name in ("loss", "accuracy")}
    for figure in (
        curves([history], text),
        compared_curves([(text, [history]), ("b", [history])], text),
        class_distribution({"train": [1, 2]}, [text, "b"], text),
    ):
        svg = plain_svg(figure, "x").decode()
        assert svg.count("<script") == 0
        assert "\x1b" not in svg


@pytest.mark.long
def test_runs_of_any_name_are_found_compared_and_reported(store, tmp_path):
    """Also where nobody could have made them here: tags and parameters are anybody's to set on a shared server."""
    texts: list[str] = []

    @quick(20)
    @given(TEXT)
    def check(text):
        texts.append(text[:4000])

    check()
    client = MlflowClient()
    for number, text in enumerate(texts):
        run_id = make_run(
            name=text[:1000] if number % 2 else None,
            dataset=text,
            accuracy=0.5 + number / 100,
            weights=text if number % 3 else "none",
            **({"epochs": text, "model_parameters": "9" * 5000} if number % 5 == 0 else {}),
        )
        client.set_tag(run_id, "tp1.remark", text)
        if number % 4 == 0:
            client.set_tag(run_id, "tp1.experiment", text)
            client.set_tag(run_id, "tp1.configuration", text)
        if number % 7 == 0:
            client.set_tag(run_id, "tp1.seed", "9" * 5000)
    broken = make_run(without=("test/accuracy",), name="\x1b[31mred\n")
    result = invoke("compare", f"to={tmp_path / 'out'}")
    # Those without a seed and that of a broken run are named; all others are compared.
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "were not logged whole and are left out" in result.stderr
    assert all(letter.isprintable() or letter == "\n" for letter in result.output)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "compare.csv").read_bytes().decode(), newline="")))
    assert sum(int(row["n"]) for row in rows) == len([n for n in range(len(texts)) if n % 7])
    html = (tmp_path / "out" / "compare.html").read_text()
    assert {tag for tag, _ in Reader(html).tags}.isdisjoint({"b", "iframe"})
    MlflowClient().delete_run(broken)
    result = invoke("report", f"to={tmp_path / 'report'}")
    assert len(result.stderr.splitlines()) == 1
    assert "were not logged whole" in result.stderr
    html = (tmp_path / "report" / "report.html").read_text()
    assert "<script>a()" not in html
    assert "\x1b" not in html + (tmp_path / "report" / "RESULTS.md").read_text()
