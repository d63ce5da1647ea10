"""Take README's pictures anew: the report's page, the comparison and MLflow's UI, of our runs.

Repeat: make pictures. Needs Chromium, and two minutes.
"""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.support.browser import CHROMIUM, FLAGS
from tests.support.servers import served

PICTURES = Path(__file__).parent / "pictures"
PROJECT = Path(__file__).parents[1]
SIZE = {"width": 1200, "height": 860}
COLOURS = 256  # a picture then takes a third of its size


def main() -> None:
    """Load our runs into a store of their own, make the pages, and take the pictures."""
    if CHROMIUM is None:
        sys.exit("Error: there is no Chromium here: install it, then make pictures.")
    PICTURES.mkdir(exist_ok=True)
    with TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "HOME": name}
        for arguments in (["import", PROJECT / "reference"], ["compare", "to=comparison"], ["report", "to=report"]):
            command = [sys.executable, "-m", "experiments", *map(str, arguments)]
            subprocess.run(command, cwd=folder, env={**environment, "PYTHONPATH": str(PROJECT)}, check=True)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport=SIZE)
        for what in ("report", "comparison"):
            (path,) = (folder / what).glob("*.html")
            page.goto(path.as_uri())
            page.wait_for_selector(".bk-Figure")
            page.evaluate("document.querySelector('section').scrollIntoView()")
            page.wait_for_timeout(1_000)  # for the charts
            take(page, what)
        with served(environment["MLFLOW_TRACKING_URI"], folder / "mlartifacts") as address:
            page.goto(f"{address}/#/experiments/1/runs?workflowType=machine_learning")
            page.get_by_text("cnnv3-s0").first.wait_for()
            if (assistant := page.get_by_label("Close", exact=False).last).is_visible():
                assistant.click()
            page.wait_for_timeout(2_000)  # its page goes on asking, so that it is never idle
            take(page, "mlflow")
        browser.close()


def take(page: Page, name: str) -> None:
    """Save what the browser shows as a small PNG file."""
    path = PICTURES / f"{name}.png"
    page.screenshot(path=path)
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
