"""The layouts of image folders: class folders, or parts (``train/``, ``val/``, ``test/``) with class folders."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tp1.base.errors import TP1Error
from tp1.base.names import printable
from tp1.data.file_kinds import SUFFIXES, Tree, count_others, read_tree
from tp1.data.parts import PARTS, find_parts, inner_folder, is_whole, mixed_parts, shared_folders, turned

MOST_NAMED = 20  # classes or folders in a message; the others are counted


@dataclass(frozen=True)
class Layout:
    """The images of a folder, by class and part.

    Attributes:
        what: The layout in words, such as ``train/ and val/``.
        parts: The parts found, of ``train``, ``val`` and ``test``; empty if class folders lie in the folder itself.
        classes: Names of the class folders, sorted.
        files: Files by name: ``<class>/<path>``, or ``<part>/<class>/<path>`` with the part's name as in ``parts``.
        labels: Class numbers of the files, in the same order.
        left_out: What is not read, in words: images without a class, other files.
        doubts: Sentences about what may be meant in another way.
    """

    what: str
    parts: tuple[str, ...]
    classes: tuple[str, ...]
    files: Mapping[str, Path]
    labels: Sequence[int]
    left_out: tuple[str, ...]
    doubts: tuple[str, ...] = ()


def read_layout(root: Path) -> Layout:
    """Find the classes and parts of an image folder.

    Raises:
        TP1Error: It cannot be read, or it has no layout that this function knows; the message names all that is wrong.
    """
    tree, inner = _unwrapped(read_tree(root))
    if found := find_parts(tree):
        return _parted(tree, found, inner)
    if outside := turned(tree):
        layout = _parted(outside, {part: [part] for part in outside.folders}, inner)
        beside = tree.count - outside.count
        left_out = [f"{beside:,} images outside of the parts"] if beside else []
        return replace(layout, what=f"{layout.what} within the classes", left_out=_left_out(tree, left_out))
    return _flat(tree, inner)


def _unwrapped(tree: Tree) -> tuple[Tree, str]:
    """Step into a folder that holds nothing but one folder of folders, as an unpacked archive does."""
    inner = ""
    while len(tree.folders) == 1 and not tree.images:
        ((name, only),) = tree.folders.items()
        if not only.filled():
            break
        tree, inner = only, f"{inner}{name}/"
    return tree, inner


def _parted(tree: Tree, found: Mapping[str, Sequence[str]], inner: str) -> Layout:
    for part, several in found.items():
        if len(several) > 1:
            raise TP1Error(f"{tree.path} has the folders {_and(several)} for one part, {part}: keep one of them.")
    roles = {part: names[0] for part, names in found.items()}
    train = inner_folder(tree.folders[roles["train"]]) if "train" in roles else Tree(tree.path)
    if not train.filled():
        loose = ", ".join(f"{name}/ {tree.folders[name].count:,}" for name in roles.values())
        raise TP1Error(
            f"{tree.path} has no class folders for training ({loose} images): put the images of each class into a "
            "folder of its own in train/."
        )
    faults = _empty_classes(train)
    left_out = [
        f"{folder.count:,} images in {name}/, which is no part"
        for name, folder in tree.folders.items()
        if name not in roles.values() and folder.count
    ]
    parts: dict[str, Tree] = {}
    for part in ("train", "val", "test"):
        if part not in roles:
            continue
        name, folder = roles[part], inner_folder(tree.folders[roles[part]])
        own = folder.filled()
        if part != "train" and not set(own) & set(train.folders) and len(own) < 2:
            what = f"{folder.count:,} images in {name}/ without labels (no class folders)" if folder.count else ""
            left_out.append(what or f"{name}/, which has no images")
            continue
        parts[part] = folder
        if folder.images:
            left_out.append(f"{len(folder.images):,} images in {name}/ outside of its class folders")
        missing, odd = sorted(set(train.filled()) - set(own)), sorted(set(own) - set(train.filled()))
        if missing or odd:
            sides = [f"{name}/ lacks {_named(missing)}"] * bool(missing) + [
                f"{roles['train']}/ lacks {_named(odd)}"
            ] * bool(odd)
            faults.append(
                f"{roles['train']}/ and {name}/ have different classes: {' and '.join(sides)}{_alike(missing, odd)}"
            )
    classes = tuple(train.filled())
    if len(classes) < 2:
        faults.append(f"{train.path} has {len(classes)} class folders with images; it needs 2 or more")
    _raise(faults, tree.path)
    files, labels = _collect({f"{part}/": folder for part, folder in parts.items()}, classes)
    names = _and([f"{inner}{roles[part]}/" for part in parts])
    return Layout(names, tuple(parts), classes, files, labels, _left_out(tree, left_out))


def _flat(tree: Tree, inner: str) -> Layout:
    classes = tuple(tree.filled())
    faults = _empty_classes(tree) + _other_meanings(tree)
    if len(tree.folders) < 2:
        loose = f" and {len(tree.images):,} images outside of them" if tree.images else ""
        faults = [
            f"it has {len(tree.folders)} class folders{loose}: it needs one folder of images per class, 2 or more"
        ]
    _raise(faults, tree.path)
    left_out = [f"{len(tree.images):,} images outside of the class folders"] if tree.images else []
    files, labels = _collect({"": tree}, classes)
    what = f"class folders{f' in {inner}' * bool(inner)}"
    return Layout(what, (), classes, files, labels, _left_out(tree, left_out), _doubts(tree))


def _other_meanings(tree: Tree) -> list[str]:
    """What would make a data set of wrong classes or mixed parts: a folder that has parts, or one that may be one."""
    faults = [
        f"{name}/ is a data set of its own, with {_and([f'{one}/' for one in folder.filled()])}: give "
        f"dataset={printable(str(folder.path))}, or move what lies beside it away"
        for name, folder in tree.folders.items()
        if is_whole(folder)
    ]
    for name, folder in tree.folders.items():
        inside = folder.filled()
        if (mixed := mixed_parts(folder)) and not is_whole(folder):  # as classes, they would mix the parts
            faults.append(
                f"{name}/ has {_and([f'{one}/' for one in mixed])}, the names of parts, and not every class has such: "
                "give each class folder its own train/ and the same other parts, or rename these folders"
            )
        if PARTS.get(name.lower()) == "train" and len(inside) > 1 and not folder.images:
            beside = [f"{one}/" for one in tree.filled() if one != name]
            faults.append(
                f"{name}/ has folders of images ({_some(inside)}), and beside it lies {_some(beside)}: if it is the "
                f"part for training, give dataset={printable(str(folder.path))}; if it is a class, move its images "
                "out of these folders"
            )
    return faults


def _doubts(tree: Tree) -> tuple[str, ...]:
    """Say where the sub-folders look like the classes, as in ``colour/cat/`` beside ``grey/cat/``."""
    folders = [folder for folder in tree.folders.values() if folder.count and not folder.images]
    shared = shared_folders(folders)
    if len(shared) < 2:
        return ()
    return (
        f"Sub-folders of the same names lie in several classes ({_some(shared)}): if these are the classes, give "
        f"dataset={printable(str(folders[0].path))}.",
    )


def _alike(missing: Sequence[str], odd: Sequence[str]) -> str:
    """Say which names of two parts' classes look the same."""
    folded = {unicodedata.normalize("NFC", name).casefold(): name for name in odd}
    for name in missing:
        if other := folded.get(unicodedata.normalize("NFC", name).casefold()):
            return f" ({printable(name)!r} and {printable(other)!r} differ in capitals or in how accents are stored)"
    return ""


def _collect(parts: Mapping[str, Tree], classes: Sequence[str]) -> tuple[dict[str, Path], list[int]]:
    files: dict[str, Path] = {}
    labels = []
    for prefix, tree in parts.items():
        for label, name in enumerate(classes):
            folder = tree.folders[name]
            found = {f"{prefix}{name}/{path}": folder.path / path for path in folder.all_images()}
            files |= found
            labels += [label] * len(found)
    return files, labels


def _empty_classes(tree: Tree) -> list[str]:
    empty = [name for name, folder in tree.folders.items() if not folder.count]
    if not empty:
        return []
    if len(empty) == 1:
        others = count_others(tree.folders[empty[0]].all_others())
        return [
            f"class folder {tree.path / empty[0]} has no images ({', '.join(SUFFIXES)})"
            f"{f', but {others}' * bool(others)}: fill or remove it"
        ]
    return [f"{len(empty)} class folders have no images ({', '.join(SUFFIXES)}), {_named(empty)}: fill or remove them"]


def _left_out(tree: Tree, what: list[str]) -> tuple[str, ...]:
    others = count_others(tree.all_others())
    return (*what, others) if others else tuple(what)


def _raise(faults: Sequence[str], root: Path) -> None:
    if faults:
        raise TP1Error(f"cannot read {root} as an image data set: {'; '.join(faults)}.")


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return f"{[printable(name) for name in names[:MOST_NAMED]]}{more}"


def _some(names: Sequence[str]) -> str:
    shown = [printable(name) for name in names]
    return _and(shown if len(shown) < 5 else [*shown[:3], f"{len(shown) - 3:,} more"])


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
