"""The page of a comparison: for each data set a table and curves; paired tests, and the rule behind the remarks."""

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from tp1.report.comparison import LAST_EPOCH, RULE, Group, short, table, unique_label
from tp1.report.curve_charts import Curve, curve_charts
from tp1.report.details import read_histories
from tp1.report.evaluations import Evaluated, evaluations_section
from tp1.report.figures import compared_curves
from tp1.report.page import Block, Code, Inline, Number, Page, Paragraph, Picture, Section, Table
from tp1.report.page_html import to_html
from tp1.report.page_markdown import to_markdown
from tp1.report.paired import Paired
from tp1.report.parameter_charts import parameter_picture
from tp1.report.parameters import Parameters, parameters_of
from tp1.report.sweeps import SweepTrials, sweep_blocks
from tp1.report.tables import number, signed, summary_table
from tp1.report.texts import TEXTS
from tp1.store.reader import RunReader
from tp1.store.runs import CURVES

MOST_EACH = 25  # classes that gain, and that lose, in the table of a paired comparison
ROWS = 500  # most rows of the page's tables together; the CSV file has all


Histories = Sequence[Mapping[str, Sequence[float]]]  # of a group's runs: the metrics of CURVES by epoch


def comparison_page(
    groups: Sequence[Group],
    histories: Sequence[Histories],
    pairs: Mapping[str, Paired],
    sweeps: Sequence[SweepTrials],
    evaluations: Sequence[Evaluated] = (),
) -> Page:
    """Return the page of ``compare``.

    Args:
        groups: In the order of the tables; the first :data:`ROWS` are shown.
        histories: Of each of the groups that are shown.
        pairs: Paired comparisons by title.
        sweeps: Each becomes one line that opens to its trials.
        evaluations: Of stored models, side by side.
    """
    texts = TEXTS["en"]
    by_dataset: dict[str, list[tuple[Group, Histories]]] = {}
    for group, own in zip(groups[:ROWS], histories, strict=True):
        by_dataset.setdefault(group.dataset, []).append((group, own))
    lead: list[Inline] = ["From the runs in the tracking store, newest of each configuration and seed."]
    if len(groups) > ROWS:
        lead.append(f" {ROWS} of {len(groups):,} rows; compare.csv has all.")
    sections = [
        _dataset_section(place, dataset, found, len(by_dataset) == 1)
        for place, (dataset, found) in enumerate(by_dataset.items())
    ]
    sections += [
        Section(f"pair-{place}", name, paired_blocks(pair)) for place, (name, pair) in enumerate(pairs.items())
    ]
    if sweeps:
        sections.append(Section("sweeps", texts["sweeps"], sweep_blocks(sweeps, texts)))
    if evaluations:
        sections.append(evaluations_section(evaluations))
    sections.append(Section("rule", "Remarks", [Paragraph([f"The rule: {RULE}"])]))
    return Page("Comparison", "en", lead, sections, broad=True)


def _dataset_section(place: int, dataset: str, found: Sequence[tuple[Group, Histories]], is_only: bool) -> Section:
    texts = TEXTS["en"]
    groups, histories = [group for group, _ in found], [own for _, own in found]
    parameters = parameters_of(groups)
    keys = [f"row-{place}-{row}" for row in range(len(groups))]
    labels = [unique_label(group, groups) for group in groups]
    # The name of a data set is anybody's to choose, and the pictures become files.
    ending = "" if is_only else f"-{dataset if re.fullmatch('[a-z0-9][a-z0-9_-]{0,60}', dataset) else f'_{place}'}"
    blocks: list[Block] = [
        *_shared(parameters, len(groups)),
        summary_table(
            groups,
            texts,
            "Mean ± standard deviation over the newest run of each of n seeds; validation: best epoch."
            + (f" {LAST_EPOCH}" if any(group.is_of_last_epoch for group in groups) else ""),
            times=True,
            parameters=parameters,
            labels=labels,
            keys=keys,
        ),
        Picture(
            f"curves{ending}",
            compared_curves([*zip(labels, histories, strict=True)], ""),
            texts["compared"],
            texts["compared"],
            curve_charts([Curve(*one) for one in zip(keys, labels, histories, strict=True)], texts),
            legend=True,
        ),
    ]
    picture = parameter_picture(
        f"parameters{ending}",
        {name: [values[name] for values in parameters.rows] for name in parameters.varied},
        [group.mean("best/val_accuracy") for group in groups],
        labels,
        keys,
        texts,
    )
    return Section(f"data-{place}", dataset or "Data set not known", [*blocks, *([picture] if picture else [])])


def _shared(parameters: Parameters, rows: int) -> list[Block]:
    """One paragraph of what is the same in all rows."""
    if not parameters.shared:
        return []
    parts: list[Inline] = [f"All {rows} rows have " if rows > 1 else "With "]
    for name, value in parameters.shared.items():
        parts += [Code(f"{name}={short(value)}"), " "]
    return [Paragraph(parts)]


def comparison_files(
    groups: Sequence[Group],
    pairs: Mapping[str, Paired],
    sweeps: Sequence[SweepTrials],
    reader: RunReader,
    evaluations: Sequence[Evaluated] = (),
) -> dict[str, bytes]:
    """Return the files by name: ``compare.csv``, ``compare.md``, ``compare.html``, and the page's pictures as PNG."""
    page = comparison_page(groups, read_histories(groups[:ROWS], CURVES, reader), pairs, sweeps, evaluations)
    markdown, pictures = to_markdown(page, ".", "png")
    return {
        "compare.csv": table(groups).to_csv(index=False).encode(),
        "compare.md": markdown.encode(),
        "compare.html": to_html(page).encode(),
        **pictures,
    }


def comparison_text(groups: Sequence[Group], files: Mapping[str, bytes], form: str) -> bytes:
    """Return all rows for another program.

    Args:
        files: As :func:`comparison_files` returns them for the same groups.
        form: ``csv`` as compare.csv, ``json`` with the same names, or ``md`` as compare.md, without its pictures.
    """
    if form == "json":
        return (
            table(groups).to_json(orient="records", indent=1, force_ascii=False, double_precision=15).encode() + b"\n"
        )
    if form == "md":
        text = files["compare.md"].decode()
        return re.sub(r"^!\[.*\]\(\./[^)]*\.png\)\n\n(\*.*\*\n\n)?", "", text, flags=re.MULTILINE).encode()
    return files["compare.csv"]


def paired_sentence(pair: Paired, images: str = "test images") -> str:
    """Return the result of a paired comparison as text.

    Args:
        images: What they are.
    """
    return (
        f"{pair.first_accuracy:.4f} against {pair.second_accuracy:.4f} on the same {pair.images:,} {images}: "
        f"difference {pair.difference:+.4f}, 95 % bootstrap interval {pair.low:+.4f} to {pair.high:+.4f}. "
        f"{pair.only_first} images only the first gets right, {pair.only_second} only the second; "
        f"McNemar's exact test p {'< 0.001' if pair.p_value < 0.001 else f'= {pair.p_value:.3f}'}."
    )


def paired_blocks(pair: Paired, images: str = "test images") -> list[Block]:
    """Return the result of a paired comparison as a paragraph and a table of classes, of many the outermost.

    Args:
        images: What they are.
    """
    shown, left_out = pair.classes, len(pair.classes) - 2 * MOST_EACH
    caption = "Classes that gain come first, those that lose last."
    if left_out > 0:
        shown = pd.concat([shown.head(MOST_EACH), shown.tail(MOST_EACH)])
        caption = f"{caption} {left_out:,} between them are left out."
    return [
        Paragraph([paired_sentence(pair, images)]),
        Table(
            ["class", "images", "recall, first", "recall, second", "gain"],
            [
                [
                    str(row["class"]),
                    Number(str(row["images"]), row["images"]),
                    number(row["first"], 3),
                    number(row["second"], 3),
                    signed(row["gain"], 3),
                ]
                for _, row in shown.iterrows()
            ],
            caption,
        ),
    ]
