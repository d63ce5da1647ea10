"""The page of a comparison: table, curves, paired tests, and the rule behind the remarks."""

from collections.abc import Mapping, Sequence

import pandas as pd

from tp1.report.comparison import RULE, Group, table
from tp1.report.details import read_histories
from tp1.report.evaluations import Evaluated, evaluations_section
from tp1.report.figures import COMPARED_CURVES, LINES, compared_curves
from tp1.report.page import Block, Number, Page, Paragraph, Picture, Section, Table, plain_png, to_html, to_markdown
from tp1.report.paired import Paired
from tp1.report.sweeps import SweepTrials, sweep_blocks
from tp1.report.tables import number, signed, summary_table
from tp1.report.texts import TEXTS
from tp1.store.reader import RunReader

MOST_EACH = 25  # classes that gain, and that lose, in the table of a paired comparison
ROWS = 500  # most rows of the page's table; the CSV file has all


def comparison_page(
    groups: Sequence[Group],
    pairs: Mapping[str, Paired],
    sweeps: Sequence[SweepTrials],
    reader: RunReader,
    title: str = "Comparison",
    evaluations: Sequence[Evaluated] = (),
) -> Page:
    """Return the page of ``compare``.

    Args:
        groups: In the order of the table. The curves of the first ten are drawn.
        pairs: Paired comparisons by title.
        sweeps: Each becomes one line that opens to its trials.
        evaluations: Of stored models, side by side.
    """
    texts = TEXTS["en"]
    sections = [_configurations(groups, reader)] if groups else []
    sections += [
        Section(f"pair-{place}", name, paired_blocks(pair)) for place, (name, pair) in enumerate(pairs.items())
    ]
    if sweeps:
        sections.append(Section("sweeps", texts["sweeps"], sweep_blocks(sweeps, texts)))
    if evaluations:
        sections.append(evaluations_section(evaluations))
    sections.append(Section("rule", "Remarks", [Paragraph([f"The rule: {RULE}"])]))
    return Page(title, "en", ["From the runs in the tracking store, newest of each configuration and seed."], sections)


def _configurations(groups: Sequence[Group], reader: RunReader) -> Section:
    texts = TEXTS["en"]
    drawn = groups[: len(LINES)]
    listed = groups[:ROWS]
    rest = f" {ROWS} of {len(groups):,} rows; compare.csv has all." if len(listed) < len(groups) else ""
    labels = [_unique(group, drawn) for group in drawn]
    histories = dict(zip(labels, read_histories(drawn, COMPARED_CURVES, reader), strict=True))
    beside = f" The first {len(drawn)} of {len(groups)} configurations." if len(drawn) < len(groups) else ""
    blocks: list[Block] = [
        summary_table(
            listed, texts, f"Mean ± standard deviation over the newest run of each of n seeds.{rest}", times=True
        ),
        Picture("curves", compared_curves(histories, ""), texts["compared"], texts["compared"] + beside),
    ]
    return Section("table", "Configurations", blocks)


def comparison_files(
    groups: Sequence[Group],
    pairs: Mapping[str, Paired],
    sweeps: Sequence[SweepTrials],
    reader: RunReader,
    evaluations: Sequence[Evaluated] = (),
) -> dict[str, bytes]:
    """Return the files by name: ``compare.csv``, ``compare.md``, ``compare.html``, and ``curves.png`` of groups."""
    page = comparison_page(groups, pairs, sweeps, reader, evaluations=evaluations)
    curves = next((block for block in page.sections[0].blocks if isinstance(block, Picture)), None)
    markdown, _ = to_markdown(page, ".")
    return {
        "compare.csv": table(groups).to_csv(index=False).encode(),
        "compare.md": markdown.replace("curves.svg", "curves.png").encode(),
        "compare.html": to_html(page).encode(),
        **({} if curves is None else {"curves.png": plain_png(curves.figure)}),
    }


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


def _unique(group: Group, groups: Sequence[Group]) -> str:
    """Return the group's label; if others share it, with its data set or its data's digest."""
    same = [other for other in groups if other.label == group.label]
    if len(same) == 1:
        return group.label
    one_name = len({other.dataset for other in same}) == 1
    return f"{group.label} [{group.runs[0].data_digest[:8] if one_name else group.dataset}]"
