"""The one exception that users see."""

from tp1.base.names import printable


class TP1Error(Exception):
    """An error that the user can fix; its message is one line: what is wrong, where, and what to do.

    Names and paths in the message may hold any character; unprintable ones are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))
