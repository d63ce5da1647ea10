"""The configuration of one training run: an immutable value, validated on creation.

What belongs together is a group: an optimiser, or a schedule, with its knobs (:mod:`tp1.recipe`). On the command line
and in a tracking store all parameters stand side by side: ``optimizer=sgd``, ``momentum=0.9``. :meth:`TrainConfig.flat`
and :meth:`TrainConfig.changed` lead from one form to the other.
"""

import shlex
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from tp1.base.checks import check, check_choice, check_text
from tp1.base.errors import TP1Error
from tp1.recipe import OPTIMIZERS, SCHEDULES, Adam, Constant, Optimizer, Schedule, param

TRANSFORMS = ("flip", "altflip", "crop", "translate", "rotate", "cutout")  # of the training images, in this order
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16")
COMPILATIONS = ("none", "default", "reduce-overhead", "max-autotune")  # the last three are torch.compile's modes
VIEWS = ("none", "flip", "flip-translate")
GROUPS = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}  # each parameter that has knobs: its variants by name
CLASS_WEIGHTS = ("none", "balanced")
TEST_FROM = ("train", "val")
SKIP_BROKEN = ("no", "yes")
DROP_DUPLICATES = ("no", "train")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """All parameters of a run; an experiment names one such configuration.

    Raises:
        TP1Error: A value is out of its range; the message names it and the range.
    """

    dataset: str = param(
        "cifar10",
        "cifar10, eurosat, digits, torchvision:NAME (as torchvision:CIFAR100), or an image folder (a name in the data "
        "directory, or a path).",
    )
    data_dir: Path | None = param(None, "Where the data sets are. Default: $TP1_DATA_DIR, else the user cache.")
    image_size: int | None = param(None, "Pixels per side that the network sees. Default: the data set's own.")
    epochs: int = param(25, "Passes over the training images.")
    batch_size: int = param(64, "Images per optimiser step.")
    optimizer: Optimizer = param(Adam(), f"{', '.join(OPTIMIZERS)}.")
    schedule: Schedule = param(Constant(), f"The step size over the training: {', '.join(SCHEDULES)}.")
    dropout: float = param(0.0, "Dropout probability, 0 <= p < 1 (what it applies to: see the model).")
    label_smoothing: float = param(0.0, "Share of the target that is spread over all classes, 0 <= s < 1.")
    averaging: float = param(
        0.0, "Decay per step of the running mean of the weights, which is evaluated, 0 <= d < 1; 0: none."
    )
    augment: str = param(
        "none", f"Training augmentation: none, or some of {', '.join(TRANSFORMS)} in this order, such as flip-crop."
    )
    tta: str = param("none", f"Views of a test image to average, in metrics of their own: {', '.join(VIEWS)}.")
    seed: int = param(0, "Fixes initialisation, order, dropout and augmentation; never the split.")
    weights: str = param(
        "none",
        "none, imagenet, a .safetensors or .pth file, or models:/NAME@ALIAS (for fusion: one each, with a comma).",
    )
    class_weights: str = param(
        "none", "none, or balanced: in the loss, images of rare classes count more, by 1 / the class's images."
    )
    test_from: str = param(
        "train", "Where a folder without test/ takes its test images: train (cut from it), or val (all of it)."
    )
    skip_broken: str = param("no", "yes: leave out images that cannot be read, and record them with the run.")
    drop_duplicates: str = param("no", "train: drop training images that are also among the validation or test images.")
    device: str = param("auto", f"One of {', '.join(DEVICES)}, or one of several as cuda:1.")
    precision: str = param("auto", "fp32, bf16, or auto: bf16 where the hardware has it.")
    compile: str = param(
        "none",
        "torch.compile for the training steps: none, default, reduce-overhead (with CUDA graphs, for small networks "
        "and batches), or max-autotune (longest to compile). For a GPU: on a CPU it made cnnv3 slower.",
    )

    def __post_init__(self) -> None:
        for name in ("dataset", "data_dir", "weights", "augment", "device", "precision", "compile"):
            check_text(name, getattr(self, name))
        check("epochs", self.epochs, self.epochs >= 1, "a whole number, 1 or more")
        check("batch_size", self.batch_size, self.batch_size >= 1, "a whole number, 1 or more")
        for name in ("dropout", "label_smoothing", "averaging"):
            check(name, getattr(self, name), 0 <= getattr(self, name) < 1, "a number from 0 up to, but not, 1")
        check("seed", self.seed, self.seed >= 0, "a whole number, 0 or more")
        for name, bits in (("epochs", 31), ("batch_size", 31), ("seed", 63)):  # integers of torch and databases
            check(name, getattr(self, name), getattr(self, name) < 2**bits, f"a whole number below 2^{bits}")
        if self.image_size is not None:
            check("image_size", self.image_size, 8 <= self.image_size <= 1024, "8 to 1024 pixels")
        if self.transforms != tuple(name for name in TRANSFORMS if name in self.transforms):
            raise TP1Error(
                f"augment={self.augment} is not known: choose none, or some of {', '.join(TRANSFORMS)} in this order, "
                "each once, joined by -, such as flip-crop."
            )
        check_choice("tta", self.tta, VIEWS)
        check_choice("class_weights", self.class_weights, CLASS_WEIGHTS)
        check_choice("test_from", self.test_from, TEST_FROM)
        check_choice("skip_broken", self.skip_broken, SKIP_BROKEN)
        check_choice("drop_duplicates", self.drop_duplicates, DROP_DUPLICATES)
        check_choice("device", self.device.split(":")[0], DEVICES)
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("compile", self.compile, COMPILATIONS)

    @property
    def transforms(self) -> tuple[str, ...]:
        """The names in ``augment``."""
        return () if self.augment == "none" else tuple(self.augment.split("-"))

    @property
    def reading(self) -> dict[str, str]:
        """How the data set is read: the parameters in :data:`READING`, as ``load_data`` takes them."""
        return {name: getattr(self, name) for name in READING}

    def flat(self) -> dict[str, Any]:
        """Every parameter by name, a group as the name of its variant and its knobs; None for a knob it has not."""
        values: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name in GROUPS:
                values[item.name] = _variant(item.name, value)
                values |= {knob: getattr(value, knob, None) for knob in _KNOBS[item.name]}
            else:
                values[item.name] = value
        return values

    def changed(self, **values: Any) -> Self:
        """A configuration with other values, by their flat names.

        Another variant of a group starts with its own defaults.

        Raises:
            TP1Error: A value is out of range, or a knob is not one of its group's variant.
            TypeError: There is no such parameter.
        """
        grouped = {*GROUPS, *(knob for knobs in _KNOBS.values() for knob in knobs)}
        own = {name: value for name, value in values.items() if name not in grouped}
        for group, variants in GROUPS.items():
            before = getattr(self, group)
            name = values.get(group, _variant(group, before))
            check_choice(group, name, variants)
            kind = variants[name]
            knobs = {knob: values[knob] for knob in _KNOBS[group] if knob in values}
            has = {item.name for item in fields(kind)}
            for knob, value in knobs.items():
                if knob not in has:
                    known = ", ".join(sorted(has)) or "no parameters"
                    raise TP1Error(f"{knob}={value}: {group}={name} has no {knob}; it has {known}.")
            variant: Any = before if type(before) is kind else kind()
            own[group] = replace(variant, **knobs)
        return replace(self, **own)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The configuration with these flat values; what is missing or None has its default."""
        return cls().changed(**{name: value for name, value in values.items() if value is not None})


@dataclass(frozen=True)
class Parameter:
    """A parameter of a configuration.

    Attributes:
        kind: Its type: str, int, float or Path.
        help: One line about it.
    """

    name: str
    kind: type
    help: str


def _knobs(group: str) -> dict[str, Parameter]:
    """The knobs of a group's variants."""
    found: dict[str, Parameter] = {}
    for variant in GROUPS[group].values():
        hints = typing.get_type_hints(variant)
        for item in fields(variant):
            found.setdefault(item.name, Parameter(item.name, hints[item.name], item.metadata["help"]))
    return found


def _variant(group: str, value: object) -> str:
    return next(name for name, kind in GROUPS[group].items() if type(value) is kind)


def _parameters() -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    hints = typing.get_type_hints(TrainConfig)
    for item in fields(TrainConfig):
        if item.name in GROUPS:
            found[item.name] = Parameter(item.name, str, item.metadata["help"])
            found |= _KNOBS[item.name]
        else:
            kinds = [
                kind for kind in typing.get_args(hints[item.name]) or (hints[item.name],) if kind is not type(None)
            ]
            found[item.name] = Parameter(item.name, kinds[0], item.metadata["help"])
    return found


_KNOBS = {group: _knobs(group) for group in GROUPS}
PARAMETERS = _parameters()  # of a configuration, by their flat names
_DEFAULTS = TrainConfig().flat()

READING = ("test_from", "skip_broken", "drop_duplicates")
# Seed, data folder, and how it is computed (device, precision, compile) do not make another configuration. How the data
# set is read makes another data or split digest, which tell runs apart.
HYPERPARAMETERS = tuple(
    name for name in PARAMETERS if name not in ("seed", "data_dir", "device", "precision", "compile", *READING)
)


def tracked_reading(params: Mapping[str, str]) -> dict[str, str]:
    """Return how a run's data set was read, from its tracked parameters: :attr:`TrainConfig.reading` of then."""
    defaults = TrainConfig().reading
    return {name: _unquoted(params.get(name, default)) for name, default in defaults.items()}


def hyperparameters(params: Mapping[str, str]) -> dict[str, str | float | None]:
    """Parse the hyperparameters among a run's tracked parameters: ``1e-3`` and ``0.001`` are the same value.

    MLflow stores parameters as spelled on the command line, with shell quotes. A parameter that was not tracked did
    not exist yet at the time, and gets its present default.
    """
    return {name: _value(name, params[name]) if name in params else _DEFAULTS[name] for name in HYPERPARAMETERS}


def differences(
    config: TrainConfig, params: Mapping[str, str], image_side: int | None = None
) -> dict[str, str | float | None]:
    """Return a run's hyperparameters (tracked parameters ``params``) that differ from ``config``: the run's values.

    Args:
        image_side: Pixels per side of the data set's images, which is what an ``image_size`` of None in ``config``
            means; None: not known, and the image size is not compared then.
    """
    found = hyperparameters(params)
    wanted = config.flat() | {"image_size": config.image_size or image_side}
    return {
        name: found[name]
        for name in HYPERPARAMETERS
        # None: not known, or a knob that the other one's optimiser or schedule, which differs, does not have.
        if wanted[name] is not None and found[name] is not None and wanted[name] != found[name]
    }


def same_value(name: str, one: str, other: str) -> bool:
    """Whether two tracked values of a parameter are the same, as ``1e-3`` and ``0.001`` are for a number."""
    return _value(name, one) == _value(name, other)


def _value(name: str, text: str) -> str | float:
    text = _unquoted(text)
    if name in PARAMETERS and PARAMETERS[name].kind not in (int, float):  # a data set may be called 2750
        return text
    try:
        return float(text)
    except ValueError:
        return text


def _unquoted(text: str) -> str:
    try:
        return " ".join(shlex.split(text)) if text.startswith("'") else text
    except ValueError:  # an unclosed quote: a tracked parameter can be any text
        return text
