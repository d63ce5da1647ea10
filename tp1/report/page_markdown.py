"""A page as Markdown, with its figures as files."""

import re
from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from tp1.base.names import printable, printable_lines
from tp1.report.figure_files import plain_png, plain_svg
from tp1.report.markdown import escape_markdown
from tp1.report.page import (
    Block,
    Code,
    Command,
    Folded,
    Gallery,
    Heading,
    Inline,
    Link,
    Number,
    Page,
    Paragraph,
    Photo,
    Picture,
    Table,
    image_type,
    numeric_columns,
)

SHEET_DPI = 90  # of images side by side


def to_markdown(page: Page, pictures: str, form: str = "svg") -> tuple[str, dict[str, bytes]]:
    """Render the page as Markdown; return the text, and its figures by file name.

    Args:
        pictures: The folder of the figures, relative to the page.
        form: Of the figures, ``svg`` or ``png``.
    """
    lines = [f"# {escape_markdown(page.title)}", "", _paragraph(page.lead), ""]
    files: dict[str, bytes] = {}
    for section in page.sections:
        lines += [f"## {escape_markdown(section.title)}", ""]
        for block in section.blocks:
            lines += [*_block(block, pictures, form, files), ""]
    return "\n".join(lines).rstrip() + "\n", files


def _block(block: Block, pictures: str, form: str, files: dict[str, bytes]) -> list[str]:
    if isinstance(block, Paragraph):
        return [_paragraph(block.parts)]
    if isinstance(block, Heading):
        return [f"### {escape_markdown(block.text)}"]
    if isinstance(block, Command):
        title = [_paragraph([block.title]), ""] if block.title else []
        return [*title, "```", printable_lines(block.text).replace("```", ""), "```"]
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Folded):
        summary = escape(printable(block.title))
        return [f"<details><summary>{summary}</summary>", "", *_table(block.table), "", "</details>"]
    if isinstance(block, Photo):
        files[f"{block.name}.png"] = block.png
        return [f"![{escape_markdown(block.alt)}]({pictures}/{block.name}.png)", *_caption(block.caption)]
    if isinstance(block, Gallery):
        return _gallery(block, pictures, files)
    file = f"{block.name}.{form}"
    files[file] = plain_svg(block.figure, block.name) if form == "svg" else plain_png(block.figure)
    alt = block.alt if isinstance(block, Picture) else block.caption
    caption = block.caption if isinstance(block, Picture) else ""
    return [f"![{escape_markdown(alt)}]({pictures}/{file})", *_caption(caption)]


def _gallery(gallery: Gallery, pictures: str, files: dict[str, bytes]) -> list[str]:
    if gallery.figure is not None:
        files[f"{gallery.name}.png"] = plain_png(gallery.figure, SHEET_DPI)
        return [f"![{escape_markdown(gallery.caption)}]({pictures}/{gallery.name}.png)", *_caption(gallery.caption)]
    lines = ["| | | | |", "|---|---|---:|---|"]
    for number, tile in enumerate(gallery.tiles):
        file = f"{gallery.name}-{number}.{image_type(tile.image)}"
        files[file] = tile.image
        verdict = "" if tile.verdict is None else gallery.right if tile.verdict else gallery.wrong
        words = ", ".join(word for word in (verdict, tile.note) if word)
        cells = (
            f"![{escape_markdown(tile.name)}]({pictures}/{file})",
            escape_markdown(tile.title),
            f"{tile.share:.3f}",
            escape_markdown(words),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _caption(text: str) -> list[str]:
    return ["", f"*{escape_markdown(text).strip()}*"] if text.strip() else []


def _table(table: Table) -> list[str]:
    columns = list(table.columns)
    if table.groups:  # Markdown has one row of headings
        names = [name for name, width in table.groups for _ in range(width)]
        columns = [f"{name}: {column}" if name else column for name, column in zip(names, columns, strict=True)]
    return [
        "| " + " | ".join(escape_markdown(column) for column in columns) + " |",
        "|" + "|".join("---:" if right else "---" for right in numeric_columns(table)) + "|",
        *("| " + " | ".join(_inline([cell]) for cell in row) + " |" for row in table.rows),
        *_caption(table.caption),
    ]


def _paragraph(parts: Sequence[Inline]) -> str:
    """A Markdown paragraph, escaped so that its first characters start no list, rule, heading or code block."""
    text = _inline(parts).lstrip()
    return re.sub(r"^(\d*)([-+=.)])(?=\s|$|[-=])", r"\1\\\2", text)


def _inline(parts: Sequence[Inline]) -> str:
    return "".join(_one(part) for part in parts)


def _one(part: Inline) -> str:
    if isinstance(part, Link):
        return f"[{escape_markdown(part.text)}]({quote(part.target, safe='/:#?=&%@+,;~')})"
    if isinstance(part, Code):
        return f"`{printable(part.text).replace('`', chr(39)).replace('|', chr(92) + '|')}`" if part.text else ""
    return escape_markdown(part.text if isinstance(part, Number) else part)
