"""The page of `compare` as a reader has it: result columns in sight, curves to hover, rows to hide, and no request."""

import time
from pathlib import Path

import numpy as np
import pytest

from tests.support.browser import CHROMIUM, FLAGS
from tests.support.catalog import catalog
from tp1.experiment import by_name_and_configuration
from tp1.report.comparison import Group, group
from tp1.report.comparison_page import comparison_page
from tp1.report.page import Picture
from tp1.report.page_html import to_html
from tp1.store.runs import CURVES, TrackedRun

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
RESULTS = ["test", "published", "difference", "remark"]
TIPS = """() => {  // the tooltips of charts, which lie in the shadow of their elements
    const found = [], walk = node => {
        for (const one of node.querySelectorAll("*")) {
            if (one.matches(".tip") && one.checkVisibility()) found.push(one.innerText);
            if (one.shadowRoot) walk(one.shadowRoot);
        }
    };
    walk(document);
    return found;
}"""
POINT = """label => {  // where the curve of a row is after epoch 2, on the screen
    const box = document.querySelector(".chart"), view = box.view;
    const {data} = view.model.renderers.find(one => one.name === "val").data_source;
    const row = [...data.label].findIndex(one => one.startsWith(label));
    const {x, y} = view.canvas_view.el.getBoundingClientRect();
    const [sx, sy] = [view.frame.x_scale.compute(data.x[row][1]), view.frame.y_scale.compute(data.y[row][1])];
    return {x: x + sx, y: y + sy, value: data.y[row][1]};
}"""


def made_groups(count: int, dataset: str = "cifar10", seeds: int = 2) -> list[Group]:
    """Groups of cnnv3 with a learning rate of their own each; the first is as in the report."""
    runs = []
    for number in range(count):
        accuracy = 0.5 + 0.4 * number / count
        shares = ("train/accuracy", "val/accuracy", "best/val_accuracy")
        shares += tuple(f"test/{name}" for name in ("accuracy", "precision_macro", "recall_macro", "f1_macro"))
        metrics = dict.fromkeys(shares, accuracy)
        metrics |= dict.fromkeys(("train/loss", "val/loss", "best/val_loss", "test/loss"), 0.6)
        metrics |= {"best/epoch": 20, "train/images_per_second": 1000}
        rate = {"learning_rate": "0.001" if number == 0 else str(number / 1000 + 0.01)}
        params = {"dropout": "0.5", "weight_decay": "1e-4", "epochs": "25", "image_size": "32"} | rate
        for seed in range(seeds):
            tags = {"tp1.experiment": "cnnv3", "tp1.dataset": dataset, "tp1.seed": str(seed)}
            tags |= {"tp1.data_digest": "data", "tp1.split_digest": "split"}
            runs.append(
                TrackedRun(f"{dataset}-{number}-{seed}", "0", "cnnv3", "FINISHED", 0, 1, tags, params, metrics, 9, 32)
            )
    return group(runs, by_name_and_configuration(catalog()))


def made_page(groups: list[Group], epochs: int, file: Path) -> str:
    """Write the page, and return its address. The curves of the groups lie well apart."""
    steps = np.arange(1, epochs + 1) / epochs
    histories = [
        [
            {name: (steps / 2 + place / len(groups) + 0.01 * seed).tolist() for name in CURVES}
            for seed, _ in enumerate(one.runs)
        ]
        for place, one in enumerate(groups)
    ]
    html = to_html(comparison_page(groups, histories, {}, []))
    assert len(html.encode()) < 5_000_000
    file.write_text(html, encoding="utf-8")
    return file.resolve().as_uri()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """A function that opens a page and returns it; at the end, nothing but the page itself was requested or said."""
    faults: list[str] = []

    def open_page(address: str, **options):
        page = browser.new_context(viewport={"width": 1200, "height": 900}, **options).new_page()
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: faults.append(request.url))
        page.goto(address)
        return page

    yield open_page
    pages = [fault for fault in faults if fault.startswith("file:")]
    assert [fault for fault in faults if not fault.startswith("data:")] == pages
    assert len(pages) == len(browser.contexts)
    for context in browser.contexts:
        context.close()


def shown_rows(page) -> list[str]:
    return page.evaluate(
        "[...document.querySelectorAll('#data-0 tbody tr')].filter(r => !r.hidden).map(r => r.dataset.key)"
    )


def test_results_are_in_sight_curves_are_hovered_and_rows_hidden(tmp_path, opened):
    groups = made_groups(6) + made_groups(2, "eurosat", seeds=1)
    address = made_page(groups, 5, tmp_path / "compare.html")
    page = opened(address)
    assert page.locator("section h2").all_inner_texts()[:2] == ["cifar10#", "eurosat#"]
    assert "epochs=25" in page.locator("#data-0 p").first.inner_text()  # what all rows share, once
    inside = page.evaluate(
        """names => [...document.querySelectorAll("#data-0 thead th")]
            .filter(one => names.includes(one.innerText) && one.getBoundingClientRect().right <= innerWidth)
            .map(one => one.innerText)""",
        RESULTS,
    )
    assert inside == RESULTS
    assert page.evaluate("document.documentElement.scrollWidth") <= 1200

    charts = page.locator("#data-0 .chart")
    charts.first.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('.chart').view")
    second = "cnnv3 (learning_rate=0.011)"

    def hovered() -> str:
        charts.first.scroll_into_view_if_needed()
        point = page.evaluate(POINT, second)
        page.mouse.move(5, 5)
        page.mouse.move(point["x"], point["y"])
        page.wait_for_timeout(100)
        return " ".join(page.evaluate(TIPS))

    value = page.evaluate(POINT, second)["value"]
    assert value == pytest.approx(0.2 + 1 / 8 + 0.005, abs=1e-4)
    assert f"{second} (n = 2)\nvalidation, epoch 2: {value:.4f}" in hovered()
    page.locator("#data-0 .legend button").nth(1).click()  # by the legend
    assert shown_rows(page) == [f"row-0-{row}" for row in (0, 2, 3, 4, 5)]
    assert second not in hovered()
    page.locator("#data-0 tbody .hide").first.click()  # by the row
    page.locator("#data-0 input[type=search]").fill("cnnv3 rate=0.015")
    assert shown_rows(page) == ["row-0-5"]
    assert page.locator("#data-0 output").inner_text() == "1 of 6 rows"
    page.locator("#data-0 .all").click()
    assert len(shown_rows(page)) == 6
    page.locator("#data-0 [data-part=val]").uncheck()
    assert "training, epoch 2" in hovered()
    assert page.locator("#data-1 tbody tr").count() == 2
    page.emulate_media(media="print")
    assert page.locator("#data-0 .static svg").first.is_visible()
    assert not charts.first.is_visible()
    plain = opened(address, java_script_enabled=False)
    assert plain.locator("#data-0 .static svg").first.is_visible()
    assert not plain.locator("#data-0 .chart, #data-0 .bar").first.is_visible()


@pytest.mark.long
def test_five_hundred_rows_are_there_in_under_three_seconds(tmp_path, opened):
    address = made_page(made_groups(500, seeds=1), 25, tmp_path / "compare.html")
    start = time.perf_counter()
    page = opened(address)
    page.wait_for_function("[...document.querySelectorAll('.chart')].slice(0, 2).every(one => one.view)")
    assert time.perf_counter() - start < 3
    assert len(shown_rows(page)) == 500
    page.locator("input[type=search]").fill("rate=0.01")
    assert len(shown_rows(page)) == 9
    filtered = page.evaluate(
        "document.querySelector('.chart').view.model.renderers[0].view.filter.booleans.filter(Boolean).length"
    )
    assert filtered == 9


def test_parameters_are_drawn_where_there_are_many_rows():
    def names(count: int) -> list[str]:
        groups = made_groups(count, seeds=1)
        page = comparison_page(groups, [[{name: [0.5, 0.6] for name in CURVES}]] * count, {}, [])
        return [block.name for block in page.sections[0].blocks if isinstance(block, Picture)]

    assert names(4) == ["curves"]
    assert names(5) == ["curves", "parameters"]
