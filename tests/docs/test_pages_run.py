"""The pages are followed as they stand, on generated images: every command ends with exit code 0."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision import models

from tests.conftest import EUROSAT_CLASSES, PROJECT, coloured_images, write_folder
from tests.support.pages import blocks
from tp1.models.weights import IMAGENET_NAMES

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def write_data(root: Path) -> None:
    """A few images of CIFAR-10 and EuroSAT in place of all, as folders."""
    sets = {
        "cifar10/train": (CIFAR10, 32, 30),
        "cifar10/test": (CIFAR10, 32, 10),
        "eurosat/2750": (EUROSAT_CLASSES, 64, 20),
    }
    for place, (classes, side, count) in sets.items():
        for label, name in enumerate(classes):
            (root / place / name).mkdir(parents=True)
            for number, image in enumerate(coloured_images(label, count, side, seed=len(place)), start=1):
                Image.fromarray(image).save(root / place / name / f"{name}_{number}.png")


def write_imagenet_weights(home: Path) -> None:
    """Random weights where torchvision keeps those of ImageNet, which would be downloaded."""
    folder = home / ".cache" / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    for name, weights in IMAGENET_NAMES.items():
        file = models.get_weight(weights).url.rpartition("/")[2]
        torch.save(models.get_model(name).state_dict(), folder / file)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """This project as it is after `make demo`, in a folder of its own, with photographs to classify."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=PROJECT, capture_output=True, text=True
    )
    folder = tmp_path / "tp1"
    for name in listed.stdout.splitlines():
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, folder / name)
    venv = folder / ".venv"
    (venv / "bin").mkdir(parents=True)
    shutil.copy(Path(sys.prefix, "pyvenv.cfg"), venv)
    (venv / "lib").symlink_to(Path(sys.prefix, "lib"))
    for program in Path(sys.prefix, "bin").iterdir():
        (venv / "bin" / program.name).symlink_to(program)
    (venv / "bin" / ".installed").unlink(missing_ok=True)
    (venv / "bin" / ".installed").touch()
    write_data(tmp_path / "data")
    return folder


def write_code(folder: Path, caption: str, text: str) -> None:
    """Put a block of code where its caption says."""
    name, _, where = caption.partition(" ")
    path = folder / name
    if where == "(at the end)":
        path.write_text(path.read_text(encoding="utf-8") + "\n\n" + text, encoding="utf-8")
    elif where.startswith("(in find_source, first)"):
        first = '    if dataset == "digits":\n'
        before = path.read_text(encoding="utf-8")
        assert first in before
        path.write_text(before.replace(first, text + first, 1), encoding="utf-8")
    else:
        assert not where
        path.write_text(text, encoding="utf-8")


@pytest.mark.long
def test_the_site_is_built_without_a_warning(checkout, tmp_path):
    site = tmp_path / "site"
    build = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going", "docs", str(site)]
    result = subprocess.run(build, cwd=checkout, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "learning-rate" in (site / "reference" / "command-line.html").read_text(encoding="utf-8")
    assert "mean cross entropy" in (site / "reference" / "python" / "tp1.training.loop.html").read_text(
        encoding="utf-8"
    )


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/your-own-images.md",
        *(
            f"docs/how-to/{name}.md"
            for name in ("network", "data-source", "resume", "sweep", "use-a-model", "evaluate")
        ),
    ],
)
def test_a_page_can_be_followed(page, checkout, tmp_path):
    if page != "docs/your-own-images.md":  # which makes them itself
        write_folder(checkout / "photos", per_class=10, classes=("cat", "dog"))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("TP1_", "MLFLOW_"))},
        "HOME": str(tmp_path / "home"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(checkout),
        "TP1_DATA_DIR": str(tmp_path / "data"),
    }
    write_imagenet_weights(tmp_path / "home")
    for block in blocks(PROJECT / page):
        if block.kind == "{code-block} python":
            write_code(checkout, block.caption, block.text)
        elif block.kind == "sh":
            for line in shell_lines(block.text):
                result = subprocess.run(
                    ["bash", "-ec", line], cwd=checkout, env=environment, capture_output=True, text=True
                )
                assert result.returncode == 0, f"{page}: {line}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"


def shell_lines(text: str) -> list[str]:
    """The commands of a block one by one, but for those that only a person ends, or that run the tests."""
    if "<<" in text:
        return [text]
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in lines if not line.startswith(("mlflow ui", "make ui", "make test"))]
