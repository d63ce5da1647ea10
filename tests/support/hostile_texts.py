"""Texts that hold markup, quotes, control characters or 10,000 letters."""

from hypothesis import strategies as st

HOSTILE = [
    "<script>a()</script>",
    "a\"b'c",
    "x|y",
    "[a](javascript:b)",
    "`code`",
    "line\nbreak",
    "**bold**",
    "&amp;",
]

ANY = st.characters(exclude_categories=("Cs",))
MARKUP = "<>&\"'`*_~#|[]()!\\$%{}-+=.:/@0123 \n\r\t\x0b\x0c\x1b\x85\u2028ab"
TEXT = st.one_of(
    st.text(ANY, min_size=1, max_size=30),
    st.text(MARKUP, min_size=1, max_size=40),
    st.sampled_from([*HOSTILE, "- a", "1. a", "1) a", "---", "===", "+ a", "    a", "> a", "# a", "```\n# a\n```"]),
    st.sampled_from(["\x1b]0;title\a", "\x1b[2J", "$x_{$", "$$", "]]>", "--><b>", "</script><b>", "{{ 7 * 7 }}"]),
    st.text(MARKUP, min_size=1, max_size=4).map(lambda text: (text * 10_000)[:10_000]),
)
# Where what is not there shows as nothing, and where 10,000 letters take seconds to read as Markdown.
SHORT = TEXT.map(lambda text: text[:500]).filter(lambda text: text.strip() != "")
