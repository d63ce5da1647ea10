"""Broken images of a folder, found once by reading every image and remembered in the cache."""

import json
from pathlib import Path

import PIL
from PIL import features

from tp1.base.folders import FULL, READ_ONLY
from tp1.data.cache import FORMAT
from tp1.data.cache_folder import BROKEN, NO_JSON, cache_unwritable, check_of
from tp1.data.file_digests import files_state
from tp1.data.image_folder import ImageFolder


def broken_images(source: ImageFolder, folder: Path) -> dict[str, str]:
    """Return the images that cannot be read: the reason by name.

    The answer is remembered in ``folder``, the cache, for as long as neither a file nor Pillow changes.

    Raises:
        TP1Error: A file cannot be opened, or not for now, or changes meanwhile; or the cache cannot be written (unless
            it is full or only for reading).
    """
    reader = check_of(PIL.__version__, *features.get_supported_codecs(), str(features.check("webp")), str(FORMAT))
    state = files_state(source.files(), folder)
    known = folder / BROKEN / f"{state.digest}-{reader}.json"
    if (found := _known(known)) is not None:
        return found
    found = source.broken()
    state.check_unchanged(source.files(), source.origin)
    try:
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text(json.dumps({"broken": found, "check": _check(found)}), encoding="utf-8")
    except OSError as error:
        if error.errno not in (*READ_ONLY, *FULL):
            raise cache_unwritable(folder, error) from error
    return found


def _known(path: Path) -> dict[str, str] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = {str(name): str(reason) for name, reason in content["broken"].items()}
        return found if content["check"] == _check(found) else None
    except (OSError, *NO_JSON):
        return None


def _check(found: dict[str, str]) -> str:
    return check_of(json.dumps(found, sort_keys=True))
