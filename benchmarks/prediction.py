"""Prediction of files and of an array beside the bare model, and the latency of the served model."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import numpy as np
import psutil
import requests
import torch
from PIL import Image

from benchmarks.frame import Row, Table, take_turns
from tp1.data.image_files import find_images
from tp1.registry.predictions import as_csv, predict_images
from tp1.registry.predictor import Predictor, load_predictor
from tp1.training.inference import EVALUATION_BATCH

MODELS = ("cnnv3", "cnn-base")


def train_one(experiment: str) -> str:
    """Train an experiment on digits for one epoch in the active tracking store; return the model's URI."""
    from click.testing import CliRunner

    from experiments.__main__ import main as tp1

    result = CliRunner().invoke(tp1, [experiment, "dataset=digits", "epochs=1"])
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


def write_pictures(count: int, shape: tuple[int, int, int], folder: Path) -> np.ndarray:
    """Write images as an array and as PNG files; return them."""
    pixels = np.stack([np.asarray(picture(number, shape)) for number in range(count)])
    np.save(folder / "images.npy", pixels)
    (folder / "png").mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / "png" / f"{number:06d}.png")
    return pixels


def files(name: str, predictor: Predictor, pixels: np.ndarray, rounds: int, folder: Path) -> Table:
    """Compare prediction of an array and of PNG files with the bare model on an array, in turns."""
    ways = {
        "bare model, in batches": lambda: bare(predictor, pixels),
        "an array (.npy)": lambda: whole(predictor, folder / "images.npy"),
        "PNG files": lambda: whole(predictor, folder / "png"),
    }
    height, width, _ = predictor.image_shape
    about = (
        f"{len(pixels):,} images of {width}x{height} pixels through all that `predict` does: find, read, predict, "
        "write CSV. Reading a small PNG takes about 0.1 ms of a core, whatever the model; cnn-base takes less than "
        "that. Ratio: to the bare model, of the same round."
    )
    return Table(f"Prediction with {name}", "s", about, take_turns(ways, rounds))


def served(model: str, shape: tuple[int, int, int], requests_: int) -> Table:
    """Measure the served model's latency, from request to response, for one image."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["mlflow", "models", "serve", "-m", model, "--env-manager", "local", "--port", str(port)]
    log = Path("serving.log").resolve()
    with log.open("wb") as file:
        server = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    address = f"http://127.0.0.1:{port}"
    question = json.dumps({"inputs": [np.asarray(picture(0, shape)).tolist()]})
    try:
        while True:
            try:
                requests.get(f"{address}/ping", timeout=5).raise_for_status()
                break
            except requests.RequestException:
                if server.poll() is not None:
                    sys.exit(f"the server has ended:\n{log.read_text(encoding='utf-8', errors='replace')}")
                time.sleep(0.5)
        times = []
        with requests.Session() as session:
            for _ in range(requests_ + 1):
                began = time.perf_counter()
                answer = session.post(
                    f"{address}/invocations", data=question, headers={"Content-Type": "application/json"}, timeout=60
                )
                times.append(time.perf_counter() - began)
                answer.raise_for_status()
        about = f"{requests_} requests with one image each to `mlflow models serve`, one after the other."
        return Table("A served model", "s", about, [Row("one image", times[1:])])  # the first warms up
    finally:
        if server.poll() is None:
            parent = psutil.Process(server.pid)
            for one in [*parent.children(recursive=True), parent]:
                one.terminate()
            server.wait()


def tables(count: int, rounds: int, folder: Path) -> list[Table]:
    """Train small models, and measure prediction with them."""
    mlflow.set_tracking_uri(f"sqlite:///{folder}/prediction.db")  # for this process and the server
    models = {name: train_one(name) for name in MODELS}
    predictors = {name: load_predictor(model) for name, model in models.items()}
    shape = predictors[MODELS[0]].image_shape
    pixels = write_pictures(count, shape, folder)
    found = [files(name, predictor, pixels, rounds, folder) for name, predictor in predictors.items()]
    return [*found, served(models["cnn-base"], shape, 10 * rounds)]
