"""Names in any script: fonts for what matplotlib's own lacks, such as Chinese, where the machine has them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.text import Text

# As Linux, macOS and Windows have them. matplotlib draws each character with the first font that has it.
FAMILIES = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans", "WenQuanYi Zen Hei", "Noto Sans Devanagari", "Noto Emoji"),
    *("Hiragino Sans", "PingFang SC", "Apple SD Gothic Neo", "Arial Unicode MS"),
    *("Yu Gothic", "Microsoft YaHei", "Malgun Gothic", "Nirmala UI", "Segoe UI Symbol"),
)


@contextmanager
def any_script(figure: Figure) -> Iterator[None]:
    """Inside the block, the figure is drawn with all fonts of :data:`FAMILIES` that are installed.

    A character that none of them has is a box, without a word: the tables beside the figure have the name.
    """
    installed = {font.name for font in fontManager.ttflist}
    families = ["sans-serif", *(name for name in FAMILIES if name in installed)]
    for text in figure.findobj(Text):
        if isinstance(text, Text) and not text.get_text().isascii():
            text.set_fontfamily(families)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield
