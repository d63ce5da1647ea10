"""The one exception that users see."""


class TP1Error(Exception):
    """Something a user can mend; the message is one line: what is wrong, where, and what to do."""
