"""Whether a candidate beats the champion: both predict the same validation images.

The candidate is the best of several runs on just these images, so that luck favours it: of five equal models, the best
one often looks better than a sixth. McNemar's exact test, one-sided, is therefore corrected for the number of runs that
the candidate is the best of (Bonferroni): with equal models the champion is replaced in at most 2.5 % of all cases.

Source: McNemar 1947; Dunn 1961.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tp1.base.errors import TP1Error
from tp1.data.dataset import ImageData, Part
from tp1.data.image_digests import TRAINED_ON, image_digests
from tp1.registry.predictor import Predictor, load_logged
from tp1.registry.same_data import check_same_classes
from tp1.registry.stored_models import fetch, stored
from tp1.registry.versions import Version
from tp1.report.paired import Paired, compare_predictions, greater
from tp1.training.evaluation import prediction_table

LEVEL = 0.025  # probability of replacing the champion by a model that is no better

# The data set with images of this height and width. Only an image folder whose images differ in size has a choice.
DataAt = Callable[[tuple[int, int]], ImageData]


@dataclass(frozen=True)
class Contest:
    """The candidate against the champion.

    Attributes:
        paired: On the images that both predicted; the candidate is the first of the two.
        among: The number of runs that the candidate is the best of.
        unseen: Whether images were left out because the champion was trained on them.
    """

    paired: Paired
    among: int
    unseen: bool

    @property
    def p_value(self) -> float:
        """McNemar's exact test, one-sided: the champion errs at most as often; corrected for :attr:`among`."""
        return min(1.0, self.among * greater(self.paired.only_first, self.paired.only_second))

    @property
    def is_won(self) -> bool:
        """Whether the candidate is better than chance explains."""
        return self.p_value <= LEVEL

    def text(self, champion: Version) -> str:
        """The outcome, as a sentence."""
        paired = self.paired
        images = f"{paired.images:,} validation images" + (" that the champion was not trained on" * self.unseen)
        runs = f"corrected for the best of {self.among} runs" if self.among > 1 else "one run"
        return (
            f"Against {champion} on the same {images}: {paired.first_accuracy:.4f} and {paired.second_accuracy:.4f}, "
            f"difference {paired.difference:+.4f}, 95 % bootstrap interval {paired.low:+.4f} to {paired.high:+.4f}; "
            f"p = {self.p_value:.2g} (McNemar's exact test, one-sided, {runs})."
        )


def compete(
    candidate: Predictor, champion: Version, data: ImageData, data_at: DataAt, among: int, folder: Path
) -> Contest:
    """Compare the candidate with the champion on validation images that neither was trained on.

    Args:
        data: The data set that the candidate was trained on.
        among: The number of runs that the candidate is the best of.
        folder: An empty folder, for the champion's files.

    Raises:
        TP1Error: The champion's files cannot be read, or the two cannot be compared.
    """
    path = fetch(stored(champion), folder)
    its = load_logged(path, str(champion))
    check_same_classes(champion, its.classes, data.classes, f"{data.name} in {data.origin}")
    its_data = sized(data, its, data_at, str(champion))
    rows = np.ones(len(data.val), bool)
    digests = champion.tags.get("tp1.data_digest", ""), champion.tags.get("tp1.split_digest", "")
    if digests != (data.digest, data.split_digest):
        trained_on = _trained_on(path, champion, digests, data)
        rows = ~np.isin(image_digests(its_data.val.images), trained_on)
        if not rows.any():
            raise TP1Error(f"{champion} was trained on all validation images of {data.name} in {data.origin}.")
    own = sized(data, candidate, data_at, "the candidate")
    tables = [
        predictions(model, of.val.chosen(rows), data.classes) for model, of in ((candidate, own), (its, its_data))
    ]
    return Contest(compare_predictions(*tables), among, not rows.all())


def predictions(predictor: Predictor, part: Part, classes: Sequence[str]) -> pd.DataFrame:
    """Predict labelled images; return a table with the columns of ``predictions.parquet``.

    Raises:
        TP1Error: The model and the data have different classes.
    """
    if tuple(predictor.classes) != tuple(classes):
        raise TP1Error(f"the model knows the classes {list(predictor.classes)}, and the data has {list(classes)}.")
    return prediction_table(part.index, part.labels, predictor.probabilities(part.images), classes)


def sized(data: ImageData, model: Predictor, data_at: DataAt, what: str) -> ImageData:
    """Return the data set with images as the model takes them.

    Args:
        what: The model in messages.

    Raises:
        TP1Error: The data set's images have another size, which nothing can change.
    """
    height, width, _ = model.image_shape
    found = data if data.image_shape == model.image_shape else data_at((height, width))
    if found.image_shape != model.image_shape:
        shape = found.image_shape
        raise TP1Error(
            f"{what} takes images of {width}x{height} pixels, and {data.name} has images of {shape[1]}x{shape[0]}."
        )
    return found


def _trained_on(path: Path, champion: Version, digests: tuple[str, str], data: ImageData) -> NDArray[np.uint64]:
    file = path / TRAINED_ON
    if not file.is_file():
        raise TP1Error(
            f"{champion} was trained on other data or another split (digests {' '.join(digests)}) than {data.name} in "
            f"{data.origin} ({data.digest} {data.split_digest}), and does not say on which images."
        )
    found: NDArray[np.uint64] = np.load(file, allow_pickle=False)
    return found
