"""The one exception that users see."""

from tp1.base.names import printable


class TP1Error(Exception):
    """Something a user can mend; the message is one line: what is wrong, where, and what to do.

    Names and paths in it may hold any character; those that a terminal would obey, or a file not take, are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))
