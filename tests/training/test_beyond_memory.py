"""A data set of three times the memory that the process may take trains within it, as fast as one that fits."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import psutil
import pytest
from PIL import Image

from tests.conftest import PROJECT, coloured_images

LIMIT = 1 << 30  # bytes that a process may take, of which Python with all libraries takes half
SIDE = 256


def many_images(root: Path, size: int) -> Path:
    """Class folders whose decoded images take ``size`` bytes; files of the same content are links."""
    count = size // (3 * 3 * SIDE * SIDE) + 1
    for label, name in enumerate("abc"):
        (root / name).mkdir(parents=True)
        for number, image in enumerate(coloured_images(label, 20, 32, seed=5)):
            Image.fromarray(image).resize((SIDE, SIDE)).save(root / name / f"{number:05d}.jpg")
        for number in range(20, count):
            os.link(root / name / f"{number % 20:05d}.jpg", root / name / f"{number:05d}.jpg")
    return root


def trained(root: Path, folder: Path, limit: int) -> tuple[str, int, float]:
    """Train in a process that may take ``limit`` bytes: what it says, the most that it took, and images per second."""
    program = (
        "import re, resource, sys; from experiments.__main__ import main\n"
        "import matplotlib.pyplot, sklearn.metrics, tp1.run\n"
        "own = dict(re.findall(r'(VmData|RssAnon):\\s+(\\d+)', open('/proc/self/status', encoding='utf-8').read()))\n"
        f"limit = {limit} + 1024 * (int(own['VmData']) - int(own['RssAnon']))\n"  # libraries reserve much, use little
        "resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))\n"
        f"main(['cnn-base', 'dataset={root}', 'image_size=32', 'epochs=2', 'dropout=0'])"
    )
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "OMP_NUM_THREADS": "1"}
    with (folder / "said").open("w+", encoding="utf-8") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", program], cwd=PROJECT, env=environment, stdout=said, stderr=subprocess.STDOUT
        )
        most = 0
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
            most = max(most, *(1024 * int(found) for found in re.findall(r"RssAnon:\s+(\d+)", status) or [0]), 0)
            time.sleep(0.05)
        said.seek(0)
        text = said.read()
    assert process.returncode == 0, text
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    return text, most, run.data.metrics["train/images_per_second"]


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_three_times_the_limit_trains_within_it_and_is_as_fast(tmp_path):
    root = many_images(tmp_path / "many", 3 * LIMIT)
    for name in ("small", "large"):
        (tmp_path / name).mkdir()
    said, most, speed = trained(root, tmp_path / "small", LIMIT)
    assert "do not fit in the free memory" in said
    assert most < LIMIT
    if psutil.virtual_memory().available < 5 * LIMIT:
        pytest.skip("this machine has too little memory to compare with")
    said, much, fast = trained(root, tmp_path / "large", 1 << 50)
    print(
        f"{most / 1e6:,.0f} MB and {speed:,.0f} images/s within the limit; {much / 1e6:,.0f} MB and {fast:,.0f} without"
    )
    assert "do not fit" not in said
    assert much > 3 * LIMIT
    assert speed >= 0.9 * fast
