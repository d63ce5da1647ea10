"""A table of groups of runs, and the report's number format."""

from collections.abc import Mapping, Sequence
from typing import Any

from tp1.base.names import whole_number
from tp1.report.comparison import Group, short
from tp1.report.nearness import is_within
from tp1.report.page import Inline, Number, Table
from tp1.report.parameters import Parameters

Texts = Mapping[str, Any]  # the fixed texts of one language


def summary_table(
    groups: Sequence[Group],
    texts: Texts,
    caption: str = "",
    *,
    brief: bool = False,
    times: bool = False,
    images: Mapping[str, int] | None = None,
    parameters: Parameters | None = None,
    labels: Sequence[str] = (),
    keys: Sequence[str] = (),
) -> Table:
    """Return one row per group: results beside published figures and the remark, then the rest, most telling first.

    Args:
        brief: Leave out the columns for macro F1, size and the published remark.
        times: Add a column for the seconds of an epoch.
        images: By the id of each group's first run, the images behind the accuracy that is compared with the published
            one (0: not known). Adds a column: whether that lies within 2 standard deviations.
        parameters: Of the groups; those that vary become columns.
        labels: Of the rows; by default the groups' own.
        keys: Of the rows, so that the reader can hide them; the groups are all on one data set then.
    """
    columns: list[tuple[str, list[Inline]]] = [
        (texts["experiment"], [*labels] or [group.label for group in groups]),
        *(() if keys else ((texts["dataset"], [group.dataset for group in groups]),)),
        (texts["n"], [Number(str(len(group.runs)), len(group.runs)) for group in groups]),
        (texts["test_short"], [_measured(group, "test/accuracy") for group in groups]),
        (texts["published"], [_published(group, texts) for group in groups]),
        (texts["difference"], [signed(_difference(group)) for group in groups]),
        *(() if images is None else ((texts["within"], [_within(group, images, texts) for group in groups]),)),
        (texts["remark"], [texts["remarks"].get(group.remark(), group.remark()) for group in groups]),
        (texts["validation_short"], [_measured(group, "best/val_accuracy") for group in groups]),
        *(() if brief else ((texts["f1"], [_measured(group, "test/f1_macro") for group in groups]),)),
    ]
    if times:
        columns.append((texts["epoch_time"], [number(group.epoch_seconds, 1) for group in groups]))
    if not brief:
        sizes = [_count(group.runs[0].params.get("model_parameters", "")) for group in groups]
        columns.append((texts["parameters"], sizes))
    if parameters is not None:
        columns += [(name, [_parameter(row[name]) for row in parameters.rows]) for name in parameters.varied]
    if not brief and any(_published_remark(group) for group in groups):
        columns.append((texts["published_remark"], [_published_remark(group) for group in groups]))
    rows = [list(row) for row in zip(*(cells for _, cells in columns), strict=True)]
    return Table([name for name, _ in columns], rows, caption, keys=keys)


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


def _measured(group: Group, metric: str) -> Inline:
    return number(group.mean(metric), 4, group.sd(metric))


def _published(group: Group, texts: Texts) -> Inline:
    metric = group.published_metric
    if metric is None:
        return "–"
    part = {"test/accuracy": texts["test_short"], "val/accuracy": texts["validation_short"]}[metric]
    return Number(f"{group.published[metric]:g} ({part})", group.published[metric])


def _difference(group: Group) -> float | None:
    metric = group.published_metric
    return None if metric is None else group.mean(metric) - group.published[metric]


def _published_remark(group: Group) -> str:
    return group.experiment.published.remark if group.experiment and group.published else ""


def _count(text: str) -> Inline:
    number = whole_number(text)
    return "–" if number is None else Number(f"{number:,}", number)


def _parameter(value: str | float | None) -> Inline:
    if value is None:
        return "–"
    return Number(f"{value:g}", value) if isinstance(value, float) else short(value)
