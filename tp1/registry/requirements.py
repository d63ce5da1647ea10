"""What a promotion may ask of a candidate, measured anew on the validation images: test images play no part."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tp1.base.errors import TP1Error
from tp1.data.corruptions import CORRUPTIONS
from tp1.data.dataset import ImageData
from tp1.registry.contest import DataAt, sized
from tp1.registry.examined_model import examined
from tp1.registry.examining import examine, examine_harder
from tp1.registry.stored_models import StoredModel

REQUIRE_TAG = "tp1.require"  # of a version: what was asked of it
MEASURED_TAG = "tp1.measured_"  # and, with the name of what was asked, what was found
AT_LEAST, AT_MOST = "at least", "at most"
# By name: what it is, whether the figure must be at least or at most the limit, and the largest limit that makes sense.
MEASURES = {
    "accuracy": ("accuracy", AT_LEAST, 1.0),
    "corruption": ("mean corruption accuracy", AT_LEAST, 1.0),
    "ece": ("calibration error", AT_MOST, 1.0),
    "brier": ("Brier score", AT_MOST, 2.0),
}


@dataclass(frozen=True)
class Requirement:
    """A limit for one of :data:`MEASURES`."""

    name: str
    limit: float

    def is_met(self, value: float) -> bool:
        """Whether a figure keeps to the limit."""
        return value >= self.limit if MEASURES[self.name][1] == AT_LEAST else value <= self.limit

    def text(self, value: float) -> str:
        """The figure beside its limit, in words."""
        what, way, _ = MEASURES[self.name]
        return f"{what} {value:.6g} ({way} {self.limit!r})"

    def __str__(self) -> str:
        return f"{self.name}:{self.limit!r}"


def parse_requirements(text: str) -> tuple[Requirement, ...]:
    """Parse ``corruption:0.60,ece:0.05``.

    Raises:
        ValueError: It says in a sentence what is wrong.
    """
    found: dict[str, Requirement] = {}
    for part in text.split(","):
        name, _, number = (piece.strip() for piece in part.partition(":"))
        if name not in MEASURES:
            raise ValueError(
                f"{part.strip()!r} asks for nothing that is known: give {', '.join(MEASURES)}, each as NAME:LIMIT."
            )
        if name in found:
            raise ValueError(f"{name} is asked for twice.")
        try:
            limit = float(number)
        except ValueError:
            limit = math.nan
        most = MEASURES[name][2]
        if not 0 <= limit <= most:
            raise ValueError(
                f"{number!r} is no limit for {name}: give a number from 0 to {most:g}, such as {name}:0.5."
            )
        found[name] = Requirement(name, limit)
    return tuple(found.values())


@dataclass(frozen=True)
class Measured:
    """What was asked of a candidate and found.

    Attributes:
        figures: By the name of what was asked.
        images: The number of validation images.
    """

    required: Sequence[Requirement]
    figures: Mapping[str, float]
    images: int

    def text(self) -> str:
        """The figures beside their limits, as a sentence; empty if nothing was asked."""
        if not self.required:
            return ""
        said = ", ".join(one.text(self.figures[one.name]) for one in self.required)
        return f" Asked for, and measured on {self.images:,} validation images: {said}."

    def tags(self, before: Mapping[str, str]) -> dict[str, str]:
        """The tags of a version, in the order in which to set them: what was asked is last, when its figures are there.

        Args:
            before: The tags that it has; those of an earlier requirement are cleared.
        """
        cleared = {key: "" for key in before if key == REQUIRE_TAG or key.startswith(MEASURED_TAG)}
        figures = {f"{MEASURED_TAG}{name}": f"{value:.6g}" for name, value in self.figures.items()}
        asked = {REQUIRE_TAG: ",".join(map(str, self.required))} if self.required else {}
        return {key: value for key, value in (cleared | figures).items() if key not in asked} | asked


def meet(
    required: Sequence[Requirement], model: StoredModel, path: Path, what: str, data: ImageData, data_at: DataAt
) -> Measured:
    """Measure what is required of a candidate.

    Figures of earlier evaluations are not used: of the same model on the same images they would be the same, and it
    could not be known that the code has measured the same.

    Args:
        path: The model's files, checked.
        what: The candidate in messages.
        data, data_at: The data set that it was trained on, and the same with images of another size.

    Raises:
        TP1Error: It falls short.
    """
    if not required:
        return Measured((), {}, 0)
    candidate = examined(model, path)
    data = sized(data, candidate.predictor, data_at, what)
    found = examine(candidate, data.classes, data.val)
    figures = {}
    for one in required:
        if one.name == "corruption":
            (harder,) = examine_harder([candidate], [found], [data.val], list(CORRUPTIONS), 0)
            assert harder.mean_accuracy is not None
            figures[one.name] = harder.mean_accuracy
        else:
            values = {"accuracy": found.accuracy, "ece": found.calibration_error, "brier": found.brier}
            figures[one.name] = values[one.name]
    measured = Measured(required, figures, len(data.val))
    if short := [one.name for one in required if not one.is_met(figures[one.name])]:
        raise TP1Error(
            f"{what} falls short of what require= asks for ({', '.join(short)}).{measured.text()} Nothing was changed: "
            "ask for less, or train a better one."
        )
    return measured
