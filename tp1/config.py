"""The configuration of one training run: an immutable value, validated on creation."""

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tp1.base.errors import TP1Error
from tp1.base.names import LONGEST_PATH, is_plain

AUGMENTATIONS = ("none", "flip-crop")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16")
CLASS_WEIGHTS = ("none", "balanced")
TEST_FROM = ("train", "val")
SKIP_BROKEN = ("no", "yes")
DROP_DUPLICATES = ("no", "train")


def _param(default: Any, help_text: str) -> Any:
    """Return a dataclass field with its default and the help text for the command line."""
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """All parameters of a run; an experiment names one such configuration.

    Raises:
        TP1Error: A value is out of its range; the message names it and the range.
    """

    dataset: str = _param(
        "cifar10", "cifar10, eurosat, digits, or an image folder (a name in the data directory, or a path)."
    )
    data_dir: Path | None = _param(None, "Where the data sets are. Default: $TP1_DATA_DIR, else the user cache.")
    image_size: int | None = _param(None, "Pixels per side that the network sees. Default: the data set's own.")
    epochs: int = _param(25, "Passes over the training images.")
    batch_size: int = _param(64, "Images per optimiser step.")
    learning_rate: float = _param(1e-3, "Adam's learning rate.")
    dropout: float = _param(0.0, "Dropout probability, 0 <= p < 1 (what it applies to: see the model).")
    weight_decay: float = _param(0.0, "L2 penalty, as torch.optim.Adam adds it to the gradient.")
    augment: str = _param("none", f"Training augmentation: {' or '.join(AUGMENTATIONS)}.")
    seed: int = _param(0, "Fixes initialisation, order, dropout and augmentation; never the split.")
    weights: str = _param(
        "none",
        "none, imagenet, a .safetensors or .pth file, or models:/NAME@ALIAS (for fusion: one each, with a comma).",
    )
    class_weights: str = _param(
        "none", "none, or balanced: in the loss, images of rare classes count more, by 1 / the class's images."
    )
    test_from: str = _param(
        "train", "Where a folder without test/ takes its test images: train (cut from it), or val (all of it)."
    )
    skip_broken: str = _param("no", "yes: leave out images that cannot be read, and record them with the run.")
    drop_duplicates: str = _param(
        "no", "train: drop training images that are also among the validation or test images."
    )
    device: str = _param("auto", f"One of {', '.join(DEVICES)}, or one of several as cuda:1.")
    precision: str = _param("auto", "fp32, bf16, or auto: bf16 where the hardware has it.")

    def __post_init__(self) -> None:
        for name in ("dataset", "data_dir", "weights", "augment", "device", "precision"):
            _check_text(name, getattr(self, name))
        _check("epochs", self.epochs, self.epochs >= 1, "a whole number, 1 or more")
        _check("batch_size", self.batch_size, self.batch_size >= 1, "a whole number, 1 or more")
        _check("learning_rate", self.learning_rate, self.learning_rate > 0, "a number above 0")
        _check("dropout", self.dropout, 0 <= self.dropout < 1, "a number from 0 up to, but not, 1")
        _check("weight_decay", self.weight_decay, self.weight_decay >= 0, "a number, 0 or more")
        _check("seed", self.seed, self.seed >= 0, "a whole number, 0 or more")
        for name, bits in (("epochs", 31), ("batch_size", 31), ("seed", 63)):  # integers of torch and databases
            _check(name, getattr(self, name), getattr(self, name) < 2**bits, f"a whole number below 2^{bits}")
        if self.image_size is not None:
            _check("image_size", self.image_size, 8 <= self.image_size <= 1024, "8 to 1024 pixels")
        _check_choice("augment", self.augment, AUGMENTATIONS)
        _check_choice("class_weights", self.class_weights, CLASS_WEIGHTS)
        _check_choice("test_from", self.test_from, TEST_FROM)
        _check_choice("skip_broken", self.skip_broken, SKIP_BROKEN)
        _check_choice("drop_duplicates", self.drop_duplicates, DROP_DUPLICATES)
        _check_choice("device", self.device.split(":")[0], DEVICES)
        _check_choice("precision", self.precision, PRECISIONS)

    @property
    def reading(self) -> dict[str, str]:
        """How the data set is read: the parameters in :data:`READING`, as ``load_data`` takes them."""
        return {name: getattr(self, name) for name in READING}


READING = ("test_from", "skip_broken", "drop_duplicates")
# Seed, data folder, device and precision do not make another configuration. How the data set is read makes another data
# or split digest, which tell runs apart.
HYPERPARAMETERS = tuple(
    item.name for item in fields(TrainConfig) if item.name not in ("seed", "data_dir", "device", "precision", *READING)
)


def tracked_reading(params: Mapping[str, str]) -> dict[str, str]:
    """Return how a run's data set was read, from its tracked parameters: :attr:`TrainConfig.reading` of then."""
    defaults = TrainConfig().reading
    return {name: str(_value(params.get(name, default))) for name, default in defaults.items()}


def hyperparameters(params: Mapping[str, str]) -> dict[str, str | float | None]:
    """Parse the hyperparameters among a run's tracked parameters: ``1e-3`` and ``0.001`` are the same value.

    MLflow stores parameters as spelled on the command line, with shell quotes. A parameter that was not tracked did
    not exist yet at the time, and gets its present default.
    """
    defaults = TrainConfig()
    return {name: _value(params[name]) if name in params else getattr(defaults, name) for name in HYPERPARAMETERS}


def differences(
    config: TrainConfig, params: Mapping[str, str], image_side: int | None = None
) -> dict[str, str | float | None]:
    """Return a run's hyperparameters (tracked parameters ``params``) that differ from ``config``: the run's values.

    Args:
        image_side: Pixels per side of the data set's images, which is what an ``image_size`` of None in ``config``
            means; None: not known, and the image size is not compared then.
    """
    found = hyperparameters(params)
    wanted = {name: getattr(config, name) for name in HYPERPARAMETERS}
    wanted["image_size"] = config.image_size or image_side
    return {name: found[name] for name, value in wanted.items() if value is not None and value != found[name]}


def same_value(one: str, other: str) -> bool:
    """Whether two tracked parameters have the same value, as ``1e-3`` and ``0.001`` do."""
    return _value(one) == _value(other)


def _value(text: str) -> str | float:
    try:
        text = " ".join(shlex.split(text)) if text.startswith("'") else text
        return float(text)
    except ValueError:  # not a number, or an unclosed quote: a tracked parameter can be any text
        return text


def _check(name: str, value: float, ok: bool, expected: str) -> None:
    # Infinity passes most range checks, so finiteness is checked too. Integers skip that check: isfinite raises
    # OverflowError for those too large for a float.
    if not (ok and (isinstance(value, int) or math.isfinite(value))):
        raise TP1Error(f"{name}={value} is out of range: it must be {expected}.")


def _check_text(name: str, value: str | Path | None) -> None:
    """Refuse text that a file system or MLflow rejects, or that could control a terminal."""
    text = "x" if value is None else str(value)
    if not text.strip() or not is_plain(text) or len(text.encode()) > LONGEST_PATH:
        raise TP1Error(
            f"{name}={text} is not usable: it must be text of 1 to {LONGEST_PATH} bytes without control characters, "
            "in UTF-8."
        )


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise TP1Error(f"{name}={value} is not known: choose {' or '.join(choices)}.")
