"""Random passwords for a team's tracking server, in the file that Compose reads."""

import os
import secrets
from pathlib import Path

from tp1.base.errors import TP1Error

SECRETS = {
    "TP1_ADMIN_PASSWORD": "of the account admin, set when the server starts for the first time",
    "TP1_DATABASE_PASSWORD": "of PostgreSQL's account tp1, set when the database starts for the first time",
    "TP1_OBJECT_STORE_KEY": "of the object store; clients never need it",
    "TP1_OBJECT_STORE_SECRET": "",
    "TP1_SERVER_SECRET": "signs the forms of the server's own pages",
}
HEAD = """\
# The secrets of this tracking server, written by `tp1 server-init`. Keep a copy where you keep passwords: the database
# takes no other. Settings that may be added: docs/SERVER.md.
"""


def write_server_env(path: Path) -> None:
    """Write new random secrets to a file that only its owner can read.

    Raises:
        TP1Error: The file is there already, or cannot be written.
    """
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise TP1Error(
            f"{path} is there already, and a server may have been started with it: move it away to make new secrets."
        ) from error
    except OSError as error:
        raise TP1Error(f"cannot write {path}: {error.strerror}.") from error
    with os.fdopen(file, "w", encoding="utf-8") as stream:
        stream.write(HEAD)
        for name, purpose in SECRETS.items():
            # Hexadecimal digits have no special meaning in a shell, a URI or Compose.
            stream.write(f"{f'# {purpose}{chr(10)}' if purpose else ''}{name}={secrets.token_hex(24)}\n")
