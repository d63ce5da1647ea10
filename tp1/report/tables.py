"""A table of groups of runs, and the report's number format."""

from collections.abc import Mapping, Sequence
from typing import Any

from tp1.base.names import whole_number
from tp1.report.comparison import Group
from tp1.report.nearness import is_within
from tp1.report.page import Inline, Number, Table

Texts = Mapping[str, Any]  # the fixed texts of one language


def summary_table(
    groups: Sequence[Group],
    texts: Texts,
    caption: str = "",
    *,
    brief: bool = False,
    times: bool = False,
    images: Mapping[str, int] | None = None,
) -> Table:
    """Return one row per group: measured and published figures, and the remark.

    Args:
        brief: Leave out the columns for hyperparameters, size and the published remark.
        times: Add a column for the seconds of an epoch.
        images: By the id of each group's first run, the images behind the accuracy that is compared with the published
            one (0: not known). Adds a column: whether that lies within 2 standard deviations.
    """
    is_study = any(group.runs[0].configuration for group in groups)
    varying = [
        name
        for name in ("learning_rate", "dropout", "weight_decay")
        if is_study and not brief and len({_param(group, name) for group in groups}) > 1
    ]
    columns = [
        *(texts["experiment"], texts["dataset"]),
        *varying,
        *(
            texts["n"],
            texts["validation_short"],
            texts["test_short"],
            texts["f1"],
            texts["published"],
            texts["difference"],
        ),
        *(() if images is None else (texts["within"],)),
        *((texts["epoch_time"],) if times else ()),
        *(() if brief else (texts["parameters"],)),
        texts["remark"],
    ]
    published_remarks = not brief and any(_published_remark(group) for group in groups)
    rows: list[list[Inline]] = []
    for group in groups:
        metric = group.published_metric
        published = group.published[metric] if metric else None
        short = {"test/accuracy": texts["test_short"], "val/accuracy": texts["validation_short"]}
        parameters = group.runs[0].params.get("model_parameters", "")
        row: list[Inline] = [
            group.label,
            group.dataset,
            *(_sortable(_param(group, name)) for name in varying),
            Number(str(len(group.runs)), len(group.runs)),
            number(group.mean("best/val_accuracy"), 4, group.sd("best/val_accuracy")),
            number(group.mean("test/accuracy"), 4, group.sd("test/accuracy")),
            number(group.mean("test/f1_macro"), 4, group.sd("test/f1_macro")),
            Number(f"{published:g} ({short[metric]})", published) if metric and published is not None else "–",
            signed(group.mean(metric) - published if metric and published is not None else None),
            *(() if images is None else (_within(group, images, texts),)),
            *((number(group.epoch_seconds, 1),) if times else ()),
            *(() if brief else (_count(parameters),)),
            texts["remarks"].get(group.remark(), group.remark()),
        ]
        if published_remarks:
            row.append(_published_remark(group))
        rows.append(row)
    if published_remarks:
        columns.append(texts["published_remark"])
    return Table(columns, rows, caption)


def number(value: float | None, digits: int = 4, sd: float | None = None) -> Inline:
    """Format a figure, with its standard deviation if given; a dash for None."""
    if value is None:
        return "–"
    return Number(f"{value:.{digits}f}" + (f" ± {sd:.{digits}f}" if sd is not None else ""), value)


def signed(value: float | None, digits: int = 4) -> Inline:
    """Format a difference with its sign; a dash for None."""
    return "–" if value is None else Number(f"{value:+.{digits}f}", value)


def _within(group: Group, images: Mapping[str, int], texts: Texts) -> str:
    if group.published_metric is None:
        return "–"
    answer: str = texts["answers"][is_within(group, images[group.runs[0].run_id])]
    return answer


def _param(group: Group, name: str) -> str:
    return group.runs[0].params.get(name, "")


def _published_remark(group: Group) -> str:
    return group.experiment.published.remark if group.experiment and group.published else ""


def _count(text: str) -> Inline:
    number = whole_number(text)
    return "–" if number is None else Number(f"{number:,}", number)


def _sortable(text: str) -> Inline:
    try:
        return Number(f"{float(text):g}", float(text))
    except ValueError:
        return text
