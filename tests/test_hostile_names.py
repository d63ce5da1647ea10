"""Names, tags and parameters of runs that hold markup, quotes, control characters or 10,000 letters.

260 generated texts. Wherever one is shown it is shown as text: on a page, in Markdown, on a terminal, in CSV, in a
figure; and whatever a run's tags and parameters hold, comparing and reporting go on.
"""

# ruff: noqa: PT017 - some values cannot be searched for, and others can

import csv
import io
import re
import shlex
from dataclasses import replace

import mlflow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from mlflow import MlflowClient

from experiments.catalog import catalog
from tests.conftest import PROJECT, all_runs, invoke, write_folder
from tests.report.test_page import HOSTILE, Reader
from tests.support.made_runs import experiment_of, make_run
from tests.test_hostile_parameters import quick
from tp1.base.errors import TP1Error
from tp1.base.names import LONGEST_LINE, LONGEST_PATH, message_line, printable, whole_number
from tp1.base.progress import say
from tp1.commands.cli import as_command
from tp1.commands.reference import read_record
from tp1.config import HYPERPARAMETERS, TrainConfig, hyperparameters, same_configuration
from tp1.report.figures import class_distribution, compared_curves, curves
from tp1.report.model_card import model_card
from tp1.report.notes import describe_outcomes, describe_run
from tp1.report.page import (
    Code,
    Command,
    Link,
    Number,
    Page,
    Paragraph,
    Section,
    Table,
    plain_svg,
    to_html,
    to_markdown,
)
from tp1.report.terminal import print_table
from tp1.store.prepare import quoted
from tp1.store.runs import RunReader
from tp1.sweeps.jobs import Outcome

ANY = st.characters(exclude_categories=("Cs",))
MARKUP = "<>&\"'`*_~#|[]()!\\$%{}-+=.:/@0123 \n\r\t\x0b\x0c\x1b\x85\u2028ab"
TEXT = st.one_of(
    st.text(ANY, min_size=1, max_size=30),
    st.text(MARKUP, min_size=1, max_size=40),
    st.sampled_from([*HOSTILE, "- a", "1. a", "1) a", "---", "===", "+ a", "    a", "> a", "# a", "```\n# a\n```"]),
    st.sampled_from(["\x1b]0;title\a", "\x1b[2J", "$x_{$", "$$", "]]>", "--><b>", "</script><b>", "{{ 7 * 7 }}"]),
    st.text(MARKUP, min_size=1, max_size=4).map(lambda text: (text * 10_000)[:10_000]),
)
# Where what is not there shows as nothing, and where 10,000 letters take seconds to read as Markdown.
SHORT = TEXT.map(lambda text: text[:500]).filter(lambda text: text.strip() != "")


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


def test_commands_give_back_what_was_given():
    @quick(20)
    @given(TEXT)
    def check(text):
        command = as_command("cnnv3", {"dataset": text})
        assert shlex.split(command) == ["mlflow", "run", ".", "-e", "cnnv3", "-P", f"dataset={text}"]
        params = dict.fromkeys(HYPERPARAMETERS, text)
        assert set(hyperparameters(params)) == set(HYPERPARAMETERS)
        same_configuration(TrainConfig(), params)
        assert whole_number(text) is None or text.isdecimal()

    check()


@pytest.mark.parametrize("text", ["$x_{$", "$$", r"\$a$ \frac{", "a\nb\x1b[31m", "n" * 10_000, "日本", "&<>\"'--"])
def test_figures_take_any_title(text):
    history = {f"{part}/{name}": [0.5, 0.6] for part in ("train", "val") for name in ("loss", "accuracy")}
    for figure in (
        curves([history], text),
        compared_curves({text: [history], "b": [history]}, text),
        class_distribution({"train": [1, 2]}, [text, "b"], text),
    ):
        svg = plain_svg(figure, "x").decode()
        assert svg.count("<script") == 0
        assert "\x1b" not in svg


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


def test_searching_for_any_value_finds_it_or_says_why_not(store):
    client = MlflowClient()
    values = {}

    @quick(20)
    @given(TEXT)
    def check(text):
        value = text[:4000]
        if value not in values:
            run = client.create_run("0", tags={"tp1.model": "x", "tp1.dataset": value})
            client.set_terminated(run.info.run_id, "FINISHED")
            values[value] = run.info.run_id
        assert [run.run_id for run in RunReader().find_runs(dataset=value)] == [values[value]]
        try:
            condition = f"tags.`tp1.dataset` = {quoted(value)}"
        except TP1Error as error:
            assert "both kinds of quotes" in str(error)
        else:
            assert [run.info.run_id for run in client.search_runs(["0"], condition)] == [values[value]]

    check()


def test_what_is_longer_than_mlflow_takes_is_cut(store):
    """MLflow's own limits: a parameter of a run may have 6,000 characters and a tag 8,000."""
    with mlflow.start_run() as run:
        mlflow.log_param("dataset", "x" * LONGEST_PATH)
        note = describe_outcomes("x", [Outcome("a", "failed", "é" * 20_000)], "y" * 20_000)
        mlflow.set_tag("mlflow.note.content", note)
    data = MlflowClient().get_run(run.info.run_id).data
    assert data.params["dataset"] == "x" * LONGEST_PATH
    assert len(data.tags["mlflow.note.content"]) == 8000
    with pytest.raises(TP1Error, match="must be text of 1 to 4096 bytes"):
        TrainConfig(dataset="é" * 2049)


def test_a_data_set_whose_name_looks_like_a_formula_is_trained_on(store, tmp_path):
    write_folder(tmp_path / "$x_{$ <b>'", per_class=6)
    result = invoke("cnn-base", "dataset=./$x_{$ <b>'", "epochs=1", "batch_size=8")
    assert result.exit_code == 0, result.stderr
    (run,) = all_runs()
    assert run.data.tags["tp1.dataset"] == "$x_{$ <b>'"
    assert "on $x\\_{$ \\<b\\>'" in run.data.tags["mlflow.note.content"]


def test_every_experiment_is_still_known():
    assert all(printable(entry.name) == entry.name for entry in catalog())
