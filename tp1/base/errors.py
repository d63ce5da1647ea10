"""The one exception that users see, and what to show of any other."""

import re

from tp1.base.names import printable

TRACEBACK = "Traceback (most recent call last)"
POOL = re.compile(
    r"HTTPS?ConnectionPool\(host='([^']*)', port=(\d+)\): Max retries exceeded with url: .* \(Caused by (.*)\)"
)
OBJECT = re.compile(r"<[\w.]+ object at 0x[0-9a-f]+>[:,]? ?|HTTPS?Connection(?:Pool)?\(host=[^)]*\): ")
WRAPPER = re.compile(r"\w+(?:Error|Timeout|Exception)\(")


class TP1Error(Exception):
    """An error that the user can fix; its message is one line: what is wrong, where, and what to do.

    Names and paths in the message may hold any character; unprintable ones are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def why(error: BaseException) -> str:
    """Return the line of an error's message that says why, of whatever library the error is.

    It is the first that is not empty, as most libraries write their errors: what follows are details (SQLAlchemy's
    statement, torch's stack). If it ends with a colon, the next line is added. Of a traceback in the message it is the
    line after it. Of a request that failed it is the innermost cause. Without a message: the type's name.
    """
    lines = [line.rstrip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if isinstance(error, KeyError):  # its message is the bare key
        return f"{lines[0]} is missing"
    traces = [number for number, line in enumerate(lines) if TRACEBACK in line]
    if traces:
        lines = [line for line in lines[traces[-1] + 1 :] if not line[0].isspace()] or lines
    line = lines[0].strip()
    if line.endswith(":") and len(lines) > 1:
        line = f"{line} {lines[1].strip()}"
    return POOL.sub(lambda found: f"{found[1]}:{found[2]}: {_cause(found[3])}", line)


def _cause(text: str) -> str:
    """The words in the nested errors of urllib3, such as ``ProxyError('no proxy', OSError('refused'))``."""
    text, wrappers = WRAPPER.subn("", OBJECT.sub("", text))
    for _ in range(wrappers):
        text = text.removesuffix(")")
    return re.sub(r"""^['"]|['"]$|['"](?=, )|(?<=, )['"]""", "", text)
