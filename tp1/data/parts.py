"""Which folders of a data set are its parts: ``train/``, ``val/``, ``test/`` in the names that people give them."""

import re
from collections.abc import Mapping, Sequence

from tp1.data.file_kinds import Tree

# Names of the folders of parts, in any case.
PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def find_parts(tree: Tree) -> dict[str, list[str]]:
    """Return names of the folders that are parts, by part; empty if the folders are classes.

    A name of :data:`PARTS` makes a part where another part or nothing else is beside it. A name that has such a word
    in it, as ``seg_train`` and ``test1`` have, or a ``train`` alone makes one where the other folders agree: they have
    the same classes, or also such words. Else it may be a class, as ``bullet_train`` is.
    """
    filled = tree.filled()
    exact = _by_part({name: PARTS[name.lower()] for name in tree.folders if name.lower() in PARTS})
    only_parts = bool(filled) and all(name.lower() in PARTS for name in filled)
    if only_parts or (len(exact) > 1 and any(tree.folders[name].filled() for name in exact.get("train", []))):
        return exact
    found = _by_part({name: part for name in filled if (part := _word(name))})
    found |= {part: names for part, names in exact.items() if tree.folders[names[0]].count}
    is_clear = bool(exact) or all(len(names) == 1 for names in found.values())
    if len(found) > 1 and sum(map(len, found.values())) == len(filled) and is_clear:
        return found
    train, *more = found.get("train", []) or [""]
    if not train or more:
        return {}
    own = set(inner_folder(tree.folders[train]).filled())
    like = [name for name in filled if name != train and len(own & {*inner_folder(tree.folders[name]).filled()}) > 1]
    if any(name in names for part, names in found.items() for name in like) or ("train" in exact and like):
        return found
    return found if "train" in exact and len(own) > 1 and len(found) > 1 else {}


def inner_folder(folder: Tree) -> Tree:
    """Step into a part that holds nothing but one folder of class folders, as ``train/train/`` does."""
    filled = folder.filled()
    while not folder.images and len(filled) == 1 and len(folder.folders[filled[0]].filled()) > 1:
        folder = folder.folders[filled[0]]
        filled = folder.filled()
    return folder


def turned(tree: Tree) -> Tree | None:
    """Return a folder whose classes hold parts, ``cat/train/`` and ``dog/train/``, with the parts outside.

    None if that is not its layout: each class has a part for training, whose images are not in classes again, and
    nothing else but parts. Images beside the parts are left in none.
    """
    classes = {name: folder for name, folder in tree.folders.items() if folder.count}
    inside = {name: [one for one in folder.filled() if one.lower() in PARTS] for name, folder in classes.items()}
    for name, folder in classes.items():
        kinds = [PARTS[one.lower()] for one in inside[name]]
        is_class = "train" in kinds and len(kinds) == len({*kinds}) == len(folder.filled()) > 1
        if not is_class or any(len(folder.folders[one].filled()) > 1 for one in inside[name]):
            return None
    if len(classes) < 2:
        return None
    parts: dict[str, Tree] = {}
    for name, folder in classes.items():
        for one in inside[name]:
            part = PARTS[one.lower()]
            parts.setdefault(part, Tree(tree.path)).folders[name] = folder.folders[one]
    return Tree(tree.path, parts)


def is_whole(folder: Tree) -> bool:
    """Whether a folder is a data set of its own: a part for training with classes, and another part."""
    found = find_parts(folder)
    train = [folder.folders[name] for name in found.get("train", [])]
    return len(found) > 1 and any(len(inner_folder(one).filled()) > 1 for one in train)


def mixed_parts(folder: Tree) -> list[str]:
    """Names of the folders in a class that are called like parts; empty unless they are of two parts or more."""
    names = [name for name in folder.filled() if name.lower() in PARTS]
    return names if len({PARTS[name.lower()] for name in names}) > 1 else []


def _word(name: str) -> str:
    """The part that a word in a folder's name means; empty if there is no such word, or several."""
    words = {PARTS[word] for word in re.findall("[a-z]+", name.lower()) if word in PARTS}
    return words.pop() if len(words) == 1 else ""


def _by_part(part_of: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, part in part_of.items():
        found.setdefault(part, []).append(name)
    return found


def shared_folders(folders: Sequence[Tree]) -> list[str]:
    """Names of folders with images that lie in several of the given ones."""
    names = [name for folder in folders for name in folder.filled()]
    return sorted({name for name in names if names.count(name) > 1})
