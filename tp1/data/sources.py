"""Which source a data set's name stands for. A new source is a module of its own and a line here."""

import os
import tarfile
import zipfile
from pathlib import Path

from tp1.base.errors import TP1Error
from tp1.base.names import is_file, is_folder, is_plain, user_path
from tp1.data.cifar10 import Cifar10
from tp1.data.digits import Digits
from tp1.data.eurosat import eurosat_folder
from tp1.data.image_folder import ImageFolder
from tp1.data.source import Source
from tp1.data.torchvision_sets import PREFIX, TorchvisionSet


def is_path(dataset: str) -> bool:
    """Whether ``dataset=`` gives the path of a folder, not the name of a data set."""
    return dataset.startswith((".", "~", os.sep)) or os.sep in dataset


def dataset_name(dataset: str) -> str:
    """The name of the data set that ``dataset=`` gives, whether or not it is there."""
    return Path(os.path.realpath(user_path(dataset))).name if is_path(dataset) else dataset


def find_source(dataset: str, data_dir: Path) -> Source:
    """Return the source that ``dataset`` names.

    Args:
        dataset: ``cifar10``, ``eurosat``, ``digits``, ``torchvision:NAME``, a folder below ``data_dir``, or a path
            to a folder.
        data_dir: The folder of data sets, to which CIFAR-10 and EuroSAT are downloaded.

    Raises:
        TP1Error: There is no such data set, its path cannot be printed, or EuroSAT cannot be downloaded.
    """
    if dataset == "digits":
        return Digits()
    if dataset.startswith(PREFIX):
        return TorchvisionSet(dataset.removeprefix(PREFIX), data_dir)
    if dataset == "eurosat":
        return ImageFolder("eurosat", eurosat_folder(data_dir))
    if dataset == "cifar10" and not is_folder(data_dir / "cifar10" / "train"):
        return Cifar10(data_dir)
    root = Path(os.path.realpath(user_path(dataset))) if is_path(dataset) else data_dir / dataset
    if is_file(root):
        raise TP1Error(_about_file(root))
    if not is_folder(root):
        # A bare name is one in the data directory, wherever the command runs.
        is_here = not is_path(dataset) and is_folder(Path(dataset))
        here = f"For the folder of this name here, give dataset=./{dataset}." if is_here else ""
        raise TP1Error(
            f"no data set {dataset!r}: it is not cifar10, eurosat, digits or {PREFIX}NAME, and there is no folder "
            f"{root}. {here or 'Check dataset= and data_dir=.'}"
        )
    if not is_plain(str(root)):  # its name goes into tags, tables and the names of files
        raise TP1Error(f"rename the image folder {root}: its path has control characters, or bytes that are no UTF-8.")
    return ImageFolder(root.name, root)


def _about_file(path: Path) -> str:
    """What to do with a file in the place of a folder."""
    beside = path.with_name(path.name.partition(".")[0] or "images")
    if zipfile.is_zipfile(path):
        return f"{path} is an archive: unpack it (unzip {path} -d {beside}), and give dataset={beside}."
    if tarfile.is_tarfile(path):
        return (
            f"{path} is an archive: unpack it (mkdir {beside} && tar -xf {path} -C {beside}), and give "
            f"dataset={beside}."
        )
    return f"{path} is a file: give dataset= the folder that holds one folder of images for each class."
