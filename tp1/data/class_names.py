"""Class names of any kind: as they are for people, made safe where metrics and tables need it."""

import re
import unicodedata
from collections.abc import Callable, Sequence

from tp1.base.errors import TP1Error
from tp1.base.names import is_plain, printable, some

# Names that result files use themselves: columns of predictions.parquet and confusion_matrix.csv, averages of reports.
RESERVED = ("index", "true", "predicted", "accuracy", "micro avg", "macro avg", "weighted avg")
LONGEST = 200  # characters in a metric's name; MLflow allows 250 for test/precision/<class>
MOST_NAMED = 10


def metric_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the classes' names in the names of metrics, ``test/f1/<name>``: one for each class, all different.

    Letters and digits of any script, spaces and ``_ - .`` stay; every other character becomes ``_``, since MLflow
    refuses it. Where two classes then have the same name, the later one gets ``_2``, and so on. ``config.json`` of a
    run has both names.
    """
    return _distinct(classes, lambda name: re.sub(r"[^\w.\- ]", "_", unicodedata.normalize("NFC", name))[:LONGEST])


def label_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the classes' names in result files, such as the columns of ``predictions.parquet``.

    That is the name itself, but for the names in :data:`RESERVED`: a class ``true`` is ``class true``.
    """
    return _distinct(classes, lambda name: f"class {name}" if name in RESERVED else name)


def check_class_names(classes: Sequence[str], origin: str) -> None:
    """Raise TP1Error for class names that cannot be stored or shown as text; all of them are named."""
    odd = [name for name in classes if not is_plain(name)]
    if odd:
        named = some([f"'{printable(name)}'" for name in odd], MOST_NAMED)
        raise TP1Error(
            f"rename the class folder {named} in {origin}: the name has control characters, or bytes that are no UTF-8."
        )


def _distinct(classes: Sequence[str], safe: Callable[[str], str]) -> tuple[str, ...]:
    """Apply ``safe`` to each name; a result that is taken is numbered. Names that ``safe`` leaves alone keep theirs."""
    taken = {name for name in classes if safe(name) == name}
    names = []
    for name in classes:
        found = safe(name)
        if found != name:
            first, number = found, 1
            while found in taken:
                number += 1
                found = f"{first}_{number}"
            taken.add(found)
        names.append(found)
    return tuple(names)
