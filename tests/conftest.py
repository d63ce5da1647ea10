"""Generated data in the real formats, and a tracking store for each test."""

import gc
import hashlib
import pickle
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import numpy as np
import pytest
from click.testing import CliRunner, Result
from mlflow.models.model import ModelInfo
from PIL import Image

from tp1.store.prepare import prepare_store

PROJECT = Path(__file__).parent.parent

gc.set_threshold(50_000)  # imports and SQLAlchemy make many objects that stay: a tenth of a test process's time


def coloured_images(label: int, count: int, side: int, seed: int) -> np.ndarray:
    """Noise around a colour that gives the class away: uint8 (count, side, side, 3)."""
    generator = np.random.default_rng((seed, label))
    colour = np.array([(220, 60, 60), (60, 220, 60), (60, 60, 220)])[label % 3] - 30 * (label // 3)
    return np.clip(colour + generator.normal(0, 40, (count, side, side, 3)), 0, 255).astype(np.uint8)


def write_folder(root: Path, per_class: int = 20, side: int = 32, suffix: str = "png", classes: str = "abc") -> Path:
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for number, image in enumerate(coloured_images(label, per_class, side, seed=7)):
            Image.fromarray(image).save(root / name / f"{number:03d}.{suffix}")
    return root


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """60 images of 32x32 pixels in three classes, to be split."""
    return write_folder(tmp_path / "shapes")


@pytest.fixture
def tiny_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10's own files with 20 images a batch: pickles, names, and checksums that torchvision verifies."""
    from torchvision.datasets import CIFAR10

    root = tmp_path / "data"
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    checksums = {}
    for number, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        labels = [row % 10 for row in range(20)]
        images = np.stack(
            [coloured_images(label, 1, 32, seed=100 * number + row)[0] for row, label in enumerate(labels)]
        )
        batch = {"data": images.transpose(0, 3, 1, 2).reshape(20, 3072), "labels": labels, "batch_label": name}
        (folder / name).write_bytes(pickle.dumps(batch))
        checksums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": classes}))
    meta_md5 = hashlib.md5((folder / "batches.meta").read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5] for name, md5 in checksums.items() if name != "test_batch"])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", checksums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": meta_md5})
    return root


EUROSAT_CLASSES = (
    *("AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial"),
    *("Pasture", "PermanentCrop", "Residential", "River", "SeaLake"),
)


@pytest.fixture
def tiny_eurosat(tmp_path: Path) -> Path:
    """EuroSAT as torchvision lays it out, with 10 images of 64x64 pixels in each class."""
    root = tmp_path / "data"
    for label, name in enumerate(EUROSAT_CLASSES):
        folder = root / "eurosat" / "2750" / name
        folder.mkdir(parents=True)
        for number, image in enumerate(coloured_images(label, 10, 64, seed=3), start=1):
            Image.fromarray(image).save(folder / f"{name}_{number}.jpg")
    return root


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's caches, data or runs."""
    monkeypatch.setenv("TP1_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TP1_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TP1_STATE_DIR", str(tmp_path / "state"))
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # a test that tracks asks for a store


def copy_database(database: Path, folder: Path) -> None:
    """Copy a SQLite database, with what lies beside it in WAL mode, into a folder; its new runs' files go there."""
    for path in database.parent.glob(f"{database.name}*"):
        shutil.copy(path, folder)
    with closing(sqlite3.connect(folder / database.name)) as connection, connection:
        connection.execute(
            "UPDATE experiments SET artifact_location = ? || experiment_id WHERE artifact_location LIKE '/%'",
            (f"{folder.resolve()}/mlruns/",),
        )


@contextmanager
def own_store(folder: Path, empty_database: Path) -> Iterator[None]:
    """The block stands in ``folder``, with a tracking store and a cache of its own there; for fixtures of a module."""
    copy_database(empty_database, folder)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        monkeypatch.setenv("TP1_CACHE_DIR", str(folder / "cache"))
        yield


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
        prepare_store()
    return path


@pytest.fixture
def store(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty SQLite tracking store in the working directory, which is ``tmp_path``."""
    copy_database(empty_database, tmp_path)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    yield uri
    while mlflow.active_run():
        mlflow.end_run()


def invoke(*arguments: str) -> Result:
    """The ``tp1`` command, in this process."""
    from experiments.__main__ import main

    return CliRunner().invoke(main, list(arguments))


def log_classifier(classifier, example: np.ndarray, dataset: str, image_size: int) -> ModelInfo:
    """Save and send a classifier as the model of the active run."""
    from tp1.data.image_digests import image_digests
    from tp1.tracking.model_files import save_classifier, send_model

    run_id = mlflow.active_run().info.run_id
    with TemporaryDirectory() as name:
        folder = Path(name) / "model"
        save_classifier(classifier, example, image_digests(example), dataset, image_size, run_id, folder)
        return mlflow.models.get_model_info(f"models:/{send_model(mlflow.MlflowClient(), run_id, folder)}")


def all_runs() -> list:
    """Every run of the tracking store, newest first."""
    experiments = [experiment.experiment_id for experiment in mlflow.search_experiments()]
    return mlflow.search_runs(experiments, output_format="list")
