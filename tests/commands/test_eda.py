"""`eda` shows of a folder, before anything is trained, all that training would meet."""

import io
import shutil

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from PIL import Image

from tests.conftest import all_runs, coloured_images, invoke


def artifacts(run) -> set[str]:
    return {item.path for item in MlflowClient().list_artifacts(run.info.run_id)}


def table(run, name: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{name}")))


def photographs(folder, count, side, suffix="jpg", seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        coarse = np.random.default_rng(seed + number).integers(0, 256, (5, 5, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((side + number % 3, side)).save(folder / f"{seed + number:03d}.{suffix}")


def test_everything_is_shown(store, tmp_path):
    root = tmp_path / "set"
    photographs(root / "train" / "a", 12, 40, seed=0)
    photographs(root / "train" / "b", 12, 40, "png", seed=100)
    photographs(root / "val" / "a", 4, 40, seed=200)
    photographs(root / "val" / "b", 4, 40, seed=300)
    photographs(root / "test", 5, 40, seed=400)
    (root / "train" / "a" / "notes.txt").write_text("x")
    for name in ("x.jpg", "y.jpg"):
        (root / "train" / "b" / name).write_bytes(b"no image")
    Image.open(root / "train" / "a" / "000.jpg").convert("L").save(root / "train" / "b" / "grey.tif")
    shutil.copy(root / "train" / "a" / "001.jpg", root / "val" / "a" / "copy.jpg")
    shutil.copy(root / "train" / "a" / "002.jpg", root / "train" / "b" / "other-class.jpg")
    result = invoke("eda", f"dataset={root}")
    assert result.exit_code == 0, result.stderr
    for said in (
        "Layout: train/ and val/; 2 classes, 35 images that can be read",
        "PNG RGB, 40x40 pixels",
        "TIFF L, 40x40 pixels",
        "Left out: 5 images in test/ without labels (no class folders); 1 file that is no image (1 .txt)",
        "Broken: 2 images; training refuses them, or leaves them out: skip_broken=yes",
        "  train/b/x.jpg: not an image",
        "they are shown at 128",
        "It has train/ and val/: the test images are cut from the training images.",
        "The same images: ",
        "in two classes; copies.csv has all",
    ):
        assert said in result.stdout, said
    (run,) = all_runs()
    assert artifacts(run) >= {"files.csv", "sizes.png", "broken.csv", "copies.csv", "samples.png", "channels.csv"}
    assert table(run, "files.csv")["images"].sum() == 35
    assert table(run, "broken.csv")["image"].tolist() == ["train/b/x.jpg", "train/b/y.jpg"]
    copies = table(run, "copies.csv")
    assert {"train/a/002.jpg", "train/b/other-class.jpg"} in [set(pair) for pair in copies[["first", "second"]].values]
    assert {"train/a/001.jpg", "val/a/copy.jpg"} in [set(pair) for pair in copies[["first", "second"]].values]


def test_the_files_are_shown_also_where_training_cannot_be(store, tmp_path):
    photographs(tmp_path / "set" / "a", 12, 40)
    photographs(tmp_path / "set" / "b", 2, 40, seed=50)
    result = invoke("eda", f"dataset={tmp_path / 'set'}")
    assert result.exit_code == 1
    assert "a class has too few images to split" in result.stderr
    assert "Layout: class folders; 2 classes, 14 images" in result.stdout
    (run,) = all_runs()
    assert run.info.status == "FAILED"
    assert artifacts(run) >= {"files.csv", "error.txt"}


def test_animated_and_palette_images_are_named(store, tmp_path):
    for label, name in enumerate("ab"):
        photographs(tmp_path / "set" / name, 4, 32, "png", seed=10 * label)
    frames = [Image.fromarray(image) for image in coloured_images(0, 3, 40, seed=1)]
    frames[0].save(tmp_path / "set" / "a" / "x.gif", save_all=True, append_images=frames[1:])
    result = invoke("eda", f"dataset={tmp_path / 'set'}", "image_size=32")
    assert result.exit_code == 0, result.stderr
    assert "GIF animated P, 40x40 pixels" in result.stdout
