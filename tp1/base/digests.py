"""SHA-256 of a model's files, recorded in the database and checked wherever the files are used."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from tp1.base.errors import TP1Error
from tp1.base.names import is_file

DIGESTS_TAG = "tp1.model_sha256"  # of a run and of a registered version: JSON, digests by file


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path relative to the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): digest(path) for path in files}


def digest(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_digests(folder: Path, recorded: Mapping[str, str], what: str, remedy: str) -> None:
    """Compare files with their recorded digests; files without one are not checked.

    Args:
        what: Owner of the files, for the message.
        remedy: What to do if a file is wrong, for the message.

    Raises:
        TP1Error: A file is missing or differs from the recorded one.
    """
    for name, expected in recorded.items():
        path = folder / name
        if not is_file(path):
            raise TP1Error(f"{what} lacks its file {name}: {remedy}.")
        if (found := digest(path)) != expected:
            raise TP1Error(
                f"{what} is refused: its file {name} is not the one that was recorded "
                f"(SHA-256 {found[:12]}..., recorded {expected[:12]}...): {remedy}."
            )


def as_tag(digests: Mapping[str, str]) -> str:
    """Digests as the value of :data:`DIGESTS_TAG`."""
    return json.dumps(dict(digests), sort_keys=True)


def from_tag(value: str | None) -> dict[str, str]:
    """Return the digests in a value of :data:`DIGESTS_TAG`; empty if the tag was not set.

    Raises:
        TP1Error: The value is not a JSON object, so files cannot be checked against it.
    """
    try:
        return {str(name): str(digest) for name, digest in json.loads(value or "{}").items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise TP1Error(
            f"the tag {DIGESTS_TAG} is damaged, and the model's files cannot be checked: train it anew."
        ) from error
