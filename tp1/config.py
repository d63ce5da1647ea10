"""The configuration of one training run: one frozen value, checked when it is made."""

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


def _param(default: Any, help_text: str) -> Any:
    """A field with the help text that the command line shows."""
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Every hyperparameter of a run; an experiment is a name for one such value.

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
        for name, bits in (("epochs", 31), ("batch_size", 31), ("seed", 63)):  # what torch and databases count with
            _check(name, getattr(self, name), getattr(self, name) < 2**bits, f"a whole number below 2^{bits}")
        if self.image_size is not None:
            _check("image_size", self.image_size, 8 <= self.image_size <= 1024, "8 to 1024 pixels")
        _check_choice("augment", self.augment, AUGMENTATIONS)
        _check_choice("device", self.device.split(":")[0], DEVICES)
        _check_choice("precision", self.precision, PRECISIONS)


# What a seed, a place or a machine changes is no other configuration.
HYPERPARAMETERS = tuple(
    item.name for item in fields(TrainConfig) if item.name not in ("seed", "data_dir", "device", "precision")
)


def hyperparameters(params: Mapping[str, str]) -> dict[str, str | float | None]:
    """The hyperparameters among a run's tracked parameters, as values: ``1e-3`` and ``0.001`` are one.

    MLflow keeps what was given on the command line as it was spelled, quoted for the shell. A parameter that was not
    tracked was not there yet, and had what is now its default.
    """
    defaults = TrainConfig()
    return {name: _value(params[name]) if name in params else getattr(defaults, name) for name in HYPERPARAMETERS}


def differences(config: TrainConfig, params: Mapping[str, str]) -> dict[str, str | float | None]:
    """The hyperparameters in which a run with the tracked parameters ``params`` differs from ``config``: the run's."""
    found = hyperparameters(params)
    wanted = {name: getattr(config, name) for name in HYPERPARAMETERS}
    # An image_size that is not given is the data set's own; a run's is always logged as a number.
    return {name: found[name] for name, value in wanted.items() if value is not None and value != found[name]}


def same_configuration(config: TrainConfig, params: Mapping[str, str]) -> bool:
    """Whether a run with the tracked parameters ``params`` was one of ``config``, whatever its seed."""
    return not differences(config, params)


def same_value(one: str, other: str) -> bool:
    """Whether two tracked parameters mean the same: ``1e-3`` and ``0.001`` do."""
    return _value(one) == _value(other)


def _value(text: str) -> str | float:
    try:
        text = " ".join(shlex.split(text)) if text.startswith("'") else text
        return float(text)
    except ValueError:  # no number, or a quote that is never closed: a parameter is whatever somebody logged
        return text


def _check(name: str, value: float, ok: bool, expected: str) -> None:
    # inf passes most comparisons, and NaN fails them with a message about range: name both. A whole number is finite,
    # and isfinite would stumble over one that no float holds.
    if not (ok and (isinstance(value, int) or math.isfinite(value))):
        raise TP1Error(f"{name}={value} is out of range: it must be {expected}.")


def _check_text(name: str, value: str | Path | None) -> None:
    """Refuse what a file system or MLflow would not take, or a terminal obey, before anything is done with it."""
    text = "x" if value is None else str(value)
    if not text.strip() or not is_plain(text) or len(text.encode()) > LONGEST_PATH:
        raise TP1Error(
            f"{name}={text} is not usable: it must be text of 1 to {LONGEST_PATH} bytes without control characters, "
            "in UTF-8."
        )


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise TP1Error(f"{name}={value} is not known: choose {' or '.join(choices)}.")
