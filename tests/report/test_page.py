"""Pages: what comes from runs is text, in HTML and in Markdown; the same page gives the same bytes."""

import re

import pytest
from markdown_it import MarkdownIt
from matplotlib.figure import Figure

from tests.support.hostile_texts import HOSTILE
from tests.support.page_reader import Reader
from tp1.report.figure_files import plain_svg
from tp1.report.figures import confusion_matrix
from tp1.report.page import Code, Command, Link, Matrix, Number, Page, Paragraph, Photo, Picture, Section, Table
from tp1.report.page_html import to_html
from tp1.report.page_markdown import to_markdown


def figure() -> Figure:
    result = Figure()
    axes = result.subplots()
    axes.plot([1, 2], [3, 4], color="#0f62ac", label="a < b")
    axes.legend()
    return result


def page(text: str) -> Page:
    blocks = [
        Paragraph([text, Code(text), Link(text, f"http://127.0.0.1/{text}")]),
        Command(text, title=text, missing=True),
        Table([text, "n"], [[text, Number("1.0", 1.0)], [Link(text, "x"), "–"]], text, groups=[(text, 2)]),
        Matrix("m", [text, "b"], [[3, 0], [1, 2]], text, "true", "predicted", confusion_matrix_figure()),
        Picture("p", figure(), text, text),
        Photo("f", b"\x89PNG", text, text),
    ]
    return Page(text, "en", [text], [Section("one", text, blocks), Section("two", "Two", [])])


def confusion_matrix_figure() -> Figure:
    import numpy as np

    return confusion_matrix(np.array([[3, 0], [1, 2]]), ["a", "b"], "")


@pytest.mark.parametrize("text", HOSTILE)
def test_html_shows_text_as_text(text):
    plain, hostile = Reader(to_html(page("word"))), Reader(to_html(page(text)))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(attrs) for _, attrs in hostile.tags] == [sorted(attrs) for _, attrs in plain.tags]
    assert text in "".join(hostile.text)


def test_html_asks_nobody_for_anything():
    reader = Reader(to_html(page("word")))
    asked = [
        attrs.get("src") or attrs.get("href") for tag, attrs in reader.tags if tag in ("img", "link", "script", "use")
    ]
    assert all(target is None or target.startswith(("data:", "#")) for target in asked)
    assert "@import" not in to_html(page("word"))


def test_figures_are_drawn_in_the_pages_colours():
    html = to_html(page("word"))
    svg = html[html.index("<svg") : html.index("</svg>")]
    assert "var(--blue)" in svg
    assert "#0f62ac" not in svg
    assert "a &lt; b" in svg  # letters, not shapes: they can be found and read aloud


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_text_as_text(text):
    markdown, _ = to_markdown(page(text), "figures")
    html = MarkdownIt("commonmark").enable("table").render(markdown)
    plain = MarkdownIt("commonmark").enable("table").render(to_markdown(page("word"), "figures")[0])
    assert re.findall(r"<[a-z0-9]+", html) == re.findall(r"<[a-z0-9]+", plain)


def test_markdown_has_its_figures_beside_it():
    markdown, files = to_markdown(page("word"), "figures")
    assert set(files) == {"m.svg", "p.svg", "f.png"}
    assert set(re.findall(r"\(figures/(.*?)\)", markdown)) == set(files)
    assert markdown.count("| ---: |") == 0
    assert "|---|---:|" in markdown


def test_the_same_figure_is_the_same_file():
    assert plain_svg(figure(), "a") == plain_svg(figure(), "a")
