"""The page of predicted images, in a real browser too."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt
from PIL import Image

from tests.conftest import coloured_images
from tests.support.browser import CHROMIUM, FLAGS
from tests.support.hostile_texts import HOSTILE
from tests.support.page_reader import Reader
from tp1.data.image_files import FoundImage
from tp1.registry import gallery
from tp1.registry.gallery import gallery_html
from tp1.registry.predictions import Predictions
from tp1.report.page import Gallery, Page, Section, Tile
from tp1.report.page_html import to_html
from tp1.report.page_markdown import to_markdown

CLASSES = ("ant", "bee", "<b>cat</b>")


def made(names: list[str], true: list[int], probabilities: list[tuple[float, float, float]]) -> Predictions:
    """Predictions for images that lie in arrays; every third is large."""
    images = [
        FoundImage(name, coloured_images(row % 3, 1, 300 if row % 3 == 2 else 32, seed=row)[0])
        for row, name in enumerate(names)
    ]
    return Predictions(CLASSES, images, np.array(probabilities, np.float32), np.array(true), 0, [])


@pytest.fixture
def labelled() -> Predictions:
    """Five images: two right, three wrong of which the second is the worst mistake."""
    names = [
        f"x/{number}-{text}.png" for number, text in enumerate(["a", "b", "c", "<script>alert(1)</script>", "e\n"])
    ]
    rows = [(0.9, 0.1, 0.0), (0.6, 0.4, 0.0), (0.05, 0.95, 0.0), (0.1, 0.2, 0.7), (0.2, 0.5, 0.3)]
    return made(names, [0, 1, 0, 2, 2], rows)


def texts(html: bytes) -> str:
    """What stands on the page, on one line."""
    body = html.decode().partition("<body>")[2].partition("<script>")[0]
    return " ".join(" ".join(Reader(body).text).split()).replace(" ;", ";").replace(" .", ".")


def test_mistakes_come_first_and_the_surest_of_them_before_the_others(labelled):
    html = gallery_html(labelled, "models:/m-1").decode()
    assert [html.index(f'alt="{name}') for name in ("2-c", "1-b", "4-e", "0-a", "3-")] == sorted(
        html.index(f'alt="{name}') for name in "01234"
    )
    text = texts(html.encode())
    assert "5 images predicted with models:/m-1; 5 of 5 are shown." in text
    assert "Accuracy 0.4000 (2 of 5 images)." in text
    assert "3 of 3 mistakes" in text
    assert "bee 0.950 ✗ wrong; true: ant (0.050) 2-c.png" in text
    assert "ant 0.900 ✓ right 0-a.png" in text
    assert html.count('<tr><th scope="row">') == 3
    for predicted in ("ant", "bee"):  # of the ants one is right, and one wrong
        assert f'style="--share: 0.500" title="ant → {predicted}: 50.0 %">1</td>' in html


def test_without_true_classes_there_is_no_verdict(labelled):
    page = made([image.name for image in labelled.images], [-1] * 5, labelled.probabilities.tolist())
    text = texts(gallery_html(page, "model"))
    assert "ant 0.900 then bee (0.100) 0-a.png" in text
    for word in ("Accuracy", "Mistakes", "right", "wrong", "✓", "✗"):
        assert word not in text


def test_some_with_a_true_class_and_some_without(labelled):
    page = made([image.name for image in labelled.images], [0, -1, 0, -1, -1], labelled.probabilities.tolist())
    text = texts(gallery_html(page, "model"))
    assert "Accuracy 0.5000 (1 of 2 images)." in text
    assert "1 of 1 mistakes" in text
    assert "4 of 4 images, in their order." in text


def test_no_more_than_fit_are_shown_and_it_says_so(labelled, monkeypatch):
    monkeypatch.setattr(gallery, "MOST_IMAGES", 4)
    html = gallery_html(labelled, "model")
    assert html.count(b"<img ") == 4
    assert "5 images predicted with model; 4 of 5 are shown." in texts(html)
    monkeypatch.setattr(gallery, "MOST_IMAGES", 2)
    html = gallery_html(labelled, "model")
    assert "2 of 3 mistakes" in texts(html)
    assert html.count(b"<img ") == 2


def test_a_file_that_has_gone_since_is_left_out(labelled, tmp_path):
    gone = FoundImage("gone.png", tmp_path / "gone.png")
    page = Predictions(CLASSES, [*labelled.images[:1], gone], labelled.probabilities[:2], np.array([-1, -1]), 0, [])
    assert gallery_html(page, "model").count(b"<img ") == 1


@pytest.mark.parametrize("text", [*HOSTILE, "\udcff.png"])
def test_html_shows_names_as_text(text):
    def page(name: str) -> Reader:
        found = made([name, f"{name}2"], [0, 1], [(0.1, 0.9, 0.0), (0.1, 0.9, 0.0)])
        return Reader(gallery_html(found, name).decode())

    plain, hostile = page("wo/rd" if "/" in text else "word"), page(text)
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(attrs) for _, attrs in hostile.tags] == [sorted(attrs) for _, attrs in plain.tags]


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_tiles_as_text(text):
    def render(word: str) -> str:
        tile = Tile(word, b"\x89PNG", word, 0.5, False, word, True)
        markdown, files = to_markdown(Page("t", "en", [], [Section("s", "S", [Gallery("g", [tile])])]), "figures")
        assert list(files) == ["g-0.png"]
        return MarkdownIt("commonmark").enable("table").render(markdown)

    assert Reader(render(text)).tags[0] == Reader(render("word")).tags[0]
    assert [tag for tag, _ in Reader(render(text)).tags] == [tag for tag, _ in Reader(render("word")).tags]
    assert "figures/g-0.png" in render(text)


def test_right_and_wrong_are_words(labelled):
    tiles = [Tile("n", b"\x89PNG", "t", 0.5, verdict, "", True) for verdict in (True, False, None)]
    html = to_html(Page("t", "pt", [], [Section("s", "S", [Gallery("g", tiles, "certo", "errado")])]))
    assert html.count("✓ certo") == html.count("✗ errado") == 1


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.long
def test_the_page_in_a_browser(labelled, tmp_path):
    """No console error, no request, every image there and large enough, no sideways scrolling."""
    from playwright.sync_api import sync_playwright

    path = tmp_path / "gallery.html"
    path.write_bytes(gallery_html(labelled, "models:/m-1"))
    address = path.as_uri()
    faults: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for scheme, width in (("light", 400), ("dark", 400), ("light", 1200)):
            page = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme).new_page()
            page.on("console", lambda message: faults.append(message.text))
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("dialog", lambda dialog: faults.append(dialog.message))
            page.on("request", lambda request: faults.append(request.url) if request.url != address else None)
            page.goto(address)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            sizes = page.evaluate("[...document.images].map(i => [i.naturalWidth, i.clientWidth, i.clientHeight])")
            assert sorted(natural for natural, *_ in sizes) == [32, 32, 32, 32, 192]
            assert all(shown_width >= 96 <= shown_height for _, shown_width, shown_height in sizes)
            rendering = "[...document.images].map(i => [i.naturalWidth, getComputedStyle(i).imageRendering])"
            assert all((how == "pixelated") == (natural == 32) for natural, how in page.evaluate(rendering))
            bars = page.evaluate(
                "[...document.querySelectorAll('.bar')].map(b => b.firstChild.clientWidth / b.clientWidth)"
            )
            assert bars == pytest.approx([0.95, 0.6, 0.5, 0.9, 0.7], abs=0.02)
        assert page.locator("text=3-<script>alert(1)</script>.png").count() == 1
        assert page.evaluate("[...document.querySelectorAll('section')].map(one => one.id)") == [
            *("accuracy", "mistakes", "images")
        ]
        browser.close()
    assert [fault for fault in faults if not fault.startswith("data:")] == []


def test_the_file_that_a_tile_shows_is_the_image(labelled):
    """The first tile is the worst mistake's own image."""
    html = gallery_html(labelled, "model").decode()
    found = re.search(r'src="data:image/jpeg;base64,([^"]+)" alt="2-c.png"', html)
    assert found is not None
    with Image.open(io.BytesIO(base64.b64decode(found[1]))) as picture:
        shown = np.asarray(picture).mean(axis=(0, 1))
    pixels = labelled.images[2].where
    assert not isinstance(pixels, Path)
    np.testing.assert_allclose(shown, pixels.mean(axis=(0, 1)), atol=3)


def test_the_matrix_of_many_classes_is_a_picture():
    count = 300
    images = [FoundImage(f"{row}.png", coloured_images(0, 1, 8, seed=row)[0]) for row in range(10)]
    probabilities = np.eye(count, dtype=np.float32)[:10]
    classes = tuple(f"class {number}" for number in range(count))
    html = gallery_html(Predictions(classes, images, probabilities, np.arange(10), 0, []), "m")
    assert html.count(b"<td") < 1000
    assert len(html) < 1_000_000
    assert "Accuracy 1.0000 (10 of 10 images)." in texts(html)
