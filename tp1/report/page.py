"""A page of text, tables and figures, as a value; :mod:`page_html` and :mod:`page_markdown` render it.

All content of a page is plain text until it is rendered; each renderer escapes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tp1.report.charts import Chart


@dataclass(frozen=True)
class Code:
    """Text in a fixed-width font."""

    text: str


@dataclass(frozen=True)
class Link:
    """A link.

    Attributes:
        target: A URL, or a path relative to the page.
    """

    text: str
    target: str


@dataclass(frozen=True)
class Number:
    """A number: the text that is shown, and the value for sorting."""

    text: str
    value: float


Inline = str | Code | Link | Number


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of text."""

    parts: Sequence[Inline]


@dataclass(frozen=True)
class Command:
    """A command to copy.

    Attributes:
        text: The command.
        title: Text above the command.
        missing: Whether the page lacks something until the command is run.
    """

    text: str
    title: str = ""
    missing: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells. Columns of numbers are right-aligned; the first cell of a row names the row.

    Attributes:
        groups: Headings above the column headings, as (text, number of columns).
        keys: If given, one for each row: rows can be filtered and hidden, also from the charts of the same section
            whose data have these keys.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Inline]]
    caption: str = ""
    groups: Sequence[tuple[str, int]] = ()
    keys: Sequence[str] = ()


@dataclass(frozen=True)
class Folded:
    """A table that is hidden behind one line until the reader opens it."""

    title: str
    table: Table


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix: counts by true class (rows) and predicted class; ``figure`` shows the same counts."""

    name: str
    classes: Sequence[str]
    counts: Sequence[Sequence[int]]
    caption: str
    true: str
    predicted: str
    figure: Figure = field(compare=False, repr=False)


@dataclass(frozen=True)
class Picture:
    """A matplotlib figure.

    Attributes:
        name: Name of its file, without suffix.
        alt: Alternative text: what the figure shows.
        charts: Show the same; they stand in its place where scripts run, but not in print.
        legend: Whether the charts have a legend of the section's rows, which also switches them.
    """

    name: str
    figure: Figure = field(compare=False, repr=False)
    alt: str
    caption: str = ""
    charts: Sequence[Chart] = ()
    legend: bool = False


@dataclass(frozen=True)
class Photo:
    """A PNG image."""

    name: str
    png: bytes = field(repr=False)
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Tile:
    """An image with a model's prediction.

    Attributes:
        name: Name of the image.
        image: PNG or JPEG file.
        title: Emphasised text below the image, such as the class.
        share: 0 to 1, drawn as a bar.
        verdict: Whether the model is right; None if unknown.
        note: Further text.
        small: Whether the image is so small that single pixels should be visible.
    """

    name: str
    image: bytes = field(repr=False)
    title: str
    share: float
    verdict: bool | None
    note: str
    small: bool


@dataclass(frozen=True)
class Gallery:
    """Images side by side.

    Attributes:
        right, wrong: Text for each verdict.
        figure: Stands in the gallery's place in Markdown, which else has a file and a row for each image.
    """

    name: str
    tiles: Sequence[Tile]
    right: str = "right"
    wrong: str = "wrong"
    caption: str = ""
    figure: Figure | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Heading:
    """A heading within a section; ``anchor`` is unique on the page."""

    text: str
    anchor: str


Block = Heading | Paragraph | Command | Table | Folded | Matrix | Picture | Photo | Gallery


@dataclass(frozen=True)
class Section:
    """A heading and the blocks under it."""

    anchor: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        language: ``en`` or ``pt``.
        lead: Text under the title.
        broad: Whether it takes the whole width of a wide screen, for tables of many columns.
    """

    title: str
    language: str
    lead: Sequence[Inline]
    sections: Sequence[Section]
    broad: bool = False


def relinked(page: Page, targets: Mapping[str, str]) -> Page:
    """The page with other targets for the links in its tables.

    Args:
        targets: New target by the present one; others stay.
    """

    def cell(part: Inline) -> Inline:
        return replace(part, target=targets.get(part.target, part.target)) if isinstance(part, Link) else part

    def block(one: Block) -> Block:
        return replace(one, rows=[[cell(part) for part in row] for row in one.rows]) if isinstance(one, Table) else one

    sections = [replace(one, blocks=[block(part) for part in one.blocks]) for one in page.sections]
    return replace(page, sections=sections)


def numeric_columns(table: Table) -> list[bool]:
    """Which columns hold numbers."""
    return [any(isinstance(row[place], Number) for row in table.rows) for place in range(len(table.columns))]


def image_type(image: bytes) -> str:
    """``png`` or ``jpeg``, from the first bytes of a file that is one of them."""
    return "jpeg" if image.startswith(b"\xff\xd8") else "png"
