"""What `eda` shows of a data set beside its images: layout, files, sizes, broken and doubled images."""

from collections import Counter

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tp1.base.names import printable
from tp1.data.dataset import ImageData
from tp1.data.image_digests import image_digests
from tp1.data.survey import Survey
from tp1.report.figure_files import plain_png
from tp1.report.figures import VALIDATION, cleaned

MOST_PRINTED = 10  # kinds of files, broken images and copies that are printed; the files of the run have all


def survey_files(survey: Survey) -> dict[str, bytes]:
    """Return the artifacts about a folder's files: ``files.csv``, ``sizes.png`` and ``broken.csv`` where there are any.

    ``files.csv`` has the number of images by format, mode and size, the most frequent first.
    """
    files = {"files.csv": _kinds(survey).to_csv(index=False).encode()}
    if len(survey.sizes) > 1:
        files["sizes.png"] = plain_png(_sizes_figure(survey))
    if survey.broken:
        broken = pd.DataFrame([*survey.broken.items()], columns=["image", "reason"])
        files["broken.csv"] = _text(broken)
    return files


def survey_lines(survey: Survey) -> list[str]:
    """Return the lines to print about a folder's files."""
    layout, kinds = survey.layout, _kinds(survey)
    total = sum(survey.kinds.values())
    lines = [f"Layout: {layout.what}; {len(layout.classes):,} classes, {total:,} images that can be read"]
    for _, row in kinds.head(MOST_PRINTED).iterrows():
        lines.append(f"{row['images']:10,}  {row['format']} {row['mode']}, {row['width']}x{row['height']} pixels")
    if len(kinds) > MOST_PRINTED:
        lines.append(f"            and {len(kinds) - MOST_PRINTED:,} other kinds: files.csv has all")
    if layout.left_out:
        lines.append(f"Left out: {'; '.join(layout.left_out)}")
    lines += layout.doubts
    if survey.broken:
        lines.append(
            f"Broken: {len(survey.broken):,} images; training refuses them, or leaves them out: skip_broken=yes"
        )
        lines += [f"  {printable(name)}: {why}" for name, why in [*survey.broken.items()][:MOST_PRINTED]]
        if len(survey.broken) > MOST_PRINTED:
            lines.append(f"  and {len(survey.broken) - MOST_PRINTED:,} more: broken.csv has all")
    return lines


def copies_table(data: ImageData) -> pd.DataFrame:
    """Return the pairs of images that are the same: those in two parts, and the same pixels in two classes.

    Columns: ``first``, ``second`` (names), ``first_part``, ``second_part``, ``first_class``, ``second_class``, ``same``
    (``pixels``, or ``picture`` where it was encoded again).
    """
    part_of, label_of = np.empty(len(data.pixels), object), np.empty(len(data.pixels), np.int64)
    part_of[:] = ""
    for title, part in (("train", data.train), ("validation", data.val), ("test", data.test)):
        part_of[part.index], label_of[part.index] = title, part.labels
    copies = data.reading.copies
    pairs = {
        (one, other): "pixels" if exact else "picture"
        for (one, other), exact in zip(copies.pairs.tolist(), copies.exact.tolist(), strict=True)
    }
    first: dict[int, int] = {}
    for row, digest in enumerate(image_digests(data.pixels).tolist()):
        one = first.setdefault(digest, row)
        if one != row and label_of[one] != label_of[row] and (row, one) not in pairs:
            pairs.setdefault((one, row), "pixels")
    rows = [
        (
            *(data.names[one], data.names[other], part_of[one], part_of[other]),
            *(data.classes[label_of[one]], data.classes[label_of[other]], same),
        )
        for (one, other), same in pairs.items()
    ]
    columns = ["first", "second", "first_part", "second_part", "first_class", "second_class", "same"]
    return pd.DataFrame(rows, columns=columns)


def copies_files(copies: pd.DataFrame) -> dict[str, bytes]:
    """Return ``copies.csv``, where there are any."""
    return {"copies.csv": _text(copies)} if len(copies) else {}


def copies_lines(copies: pd.DataFrame) -> list[str]:
    """Return the lines to print about images that are the same."""
    if copies.empty:
        return []
    between = copies[copies["first_part"] != copies["second_part"]]
    classes = copies[copies["first_class"] != copies["second_class"]]
    lines = [
        f"The same images: {len(between):,} pairs in two parts"
        f"{' (drop_duplicates=train leaves them out of training)' * bool(len(between))}, "
        f"{len(classes):,} in two classes; copies.csv has all"
    ]
    for _, row in copies.head(MOST_PRINTED).iterrows():
        lines.append(
            f"  {printable(row['first'])} ({row['first_part']}) and {printable(row['second'])} ({row['second_part']})"
        )
    return lines


def _kinds(survey: Survey) -> pd.DataFrame:
    rows = sorted(((*kind, count) for kind, count in survey.kinds.items()), key=lambda row: (-row[-1], row))
    return pd.DataFrame(rows, columns=["format", "mode", "width", "height", "images"])


def _sizes_figure(survey: Survey) -> Figure:
    """Widths and heights of the images; the area of a circle says how many have this size."""
    counts: Counter[tuple[int, int]] = Counter()
    for (_, _, width, height), count in survey.kinds.items():
        counts[width, height] += count
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    points = np.array([*counts])
    areas = np.array([*counts.values()])
    axes.scatter(
        points[:, 0], points[:, 1], s=10 + 190 * areas / areas.max(), color=VALIDATION, alpha=0.5, linewidths=0
    )
    right, top = (1.1 * points.max(axis=0)).tolist()  # so that circles at the edge are whole
    axes.set(xlabel="width, pixels", ylabel="height, pixels", xlim=(0, right), ylim=(0, top))
    axes.set_title(f"{len(counts):,} sizes of {areas.sum():,} images")
    cleaned(axes)
    return figure


def _text(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False).encode(errors="backslashreplace")  # names may hold bytes that are no UTF-8
