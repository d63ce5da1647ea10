"""Compare prediction of files with the bare model on an array; measure the latency of the served model.

    python benchmarks/prediction.py [--model models:/m-...] [--images 2000] [--rounds 5] [--serve]

Files and bare model alternate in one process. The bare model gets batches of 64 from an array in memory. Files go
through all that `predict` does: find, read, predict, write CSV. Without --model, cnn-base is trained on digits for one
epoch: it is so small that decoding a PNG file costs as much as the network. Measure on an otherwise idle machine.
"""

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import requests
import torch
from PIL import Image

from tp1.data.image_files import find_images
from tp1.registry.predictions import as_csv, predict_images
from tp1.registry.predictor import Predictor, is_stored, load_predictor
from tp1.store.prepare import prepare_store
from tp1.training.devices import describe
from tp1.training.inference import EVALUATION_BATCH


def train_one() -> str:
    """Train cnn-base on digits for one epoch in the active tracking store; return the model's URI."""
    from click.testing import CliRunner

    from experiments.__main__ import main as tp1

    result = CliRunner().invoke(tp1, ["cnn-base", "dataset=digits", "epochs=1"])
    found = re.search(r"^Model (models:/m-\w+)$", result.output, re.MULTILINE)
    if found is None:
        sys.exit(result.output)
    return found[1]


def picture(number: int, shape: tuple[int, int, int]) -> Image.Image:
    """Draw an image as smooth as a photograph, because noise makes PNG files slow to decode."""
    small = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(shape[1::-1], Image.Resampling.BICUBIC)


def bare(predictor: Predictor, pixels: np.ndarray) -> None:
    with torch.inference_mode():
        for start in range(0, len(pixels), EVALUATION_BATCH):
            predictor.program(torch.from_numpy(pixels[start : start + EVALUATION_BATCH]))


def whole(predictor: Predictor, path: Path) -> None:
    as_csv(predict_images(predictor, find_images([path])), 3)


def rate(work: Callable[[], None], count: int) -> float:
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def compare(predictor: Predictor, count: int, rounds: int, folder: Path) -> None:
    pixels = np.stack([np.asarray(picture(number, predictor.image_shape)) for number in range(count)])
    np.save(folder / "images.npy", pixels)
    (folder / "png").mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / "png" / f"{number:06d}.png")
    ways = {
        "bare": lambda: bare(predictor, pixels),
        "npy": lambda: whole(predictor, folder / "images.npy"),
        "png": lambda: whole(predictor, folder / "png"),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    print("round  " + "  ".join(f"{name:>8}" for name in ways) + "   images/s")
    for number in range(rounds + 1):
        for name, work in ways.items():
            rates[name].append(rate(work, count))
        if number == 0:  # warms up
            for values in rates.values():
                values.clear()
            continue
        print(f"{number:5d}  " + "  ".join(f"{values[-1]:8.0f}" for values in rates.values()))
    for name in ("npy", "png"):
        ratios = [ours / theirs for ours, theirs in zip(rates[name], rates["bare"], strict=True)]
        ours, theirs = statistics.median(rates[name]), statistics.median(rates["bare"])
        print(
            f"{name}: median {ours:,.0f} images/s, of the bare model {theirs:,.0f}; "
            f"median ratio {statistics.median(ratios):.3f} (n = {rounds}, {min(ratios):.3f} to {max(ratios):.3f})"
        )


def latency(model: str, shape: tuple[int, int, int], rounds: int) -> None:
    """Measure the served model's latency, from request to response, for one image."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["mlflow", "models", "serve", "-m", model, "--env-manager", "local", "--port", str(port)]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    question = json.dumps({"inputs": [np.asarray(picture(0, shape)).tolist()]})
    try:
        while True:
            try:
                requests.get(f"{address}/ping", timeout=5).raise_for_status()
                break
            except requests.RequestException:
                if server.poll() is not None:
                    sys.exit("the server has ended; start it by hand to see why")
                time.sleep(0.5)
        times = []
        with requests.Session() as session:
            for _ in range(rounds + 1):
                began = time.perf_counter()
                answer = session.post(
                    f"{address}/invocations", data=question, headers={"Content-Type": "application/json"}, timeout=60
                )
                times.append(1000 * (time.perf_counter() - began))
                answer.raise_for_status()
        times = times[1:]  # the first warms up
        print(
            f"served: median {statistics.median(times):.1f} ms for one image (n = {rounds}, up to {max(times):.1f} ms)"
        )
    finally:
        parent = psutil.Process(server.pid)
        everyone = [*parent.children(recursive=True), parent]
        for one in everyone:
            one.terminate()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="an MLflow URI, or a folder from download")
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help="also serve the model (a URI) and measure its latency")
    arguments = parser.parse_args()
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = arguments.model
        if model is None:
            os.chdir(folder)  # MLflow writes artifacts to the working directory
            os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
            model = train_one()
        elif is_stored(model):
            prepare_store()
        predictor = load_predictor(model)
        print(f"{describe(torch.device('cpu'))}; {model}, {predictor.image_shape}, {arguments.images:,} images")
        compare(predictor, arguments.images, arguments.rounds, folder)
        if arguments.serve:
            latency(model, predictor.image_shape, 50)


if __name__ == "__main__":
    main()
