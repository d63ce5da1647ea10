"""How a data set was read: what was found, left out and cut, for the user, the run and `eda`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tp1.base.names import some
from tp1.data.copies import Copies

NAMED = 3  # images in a note; all are in the files of `eda`


@dataclass(frozen=True)
class Reading:
    """How a data set was read.

    Attributes:
        layout: The folders found, in words, such as ``train/ and val/``; empty where there are none.
        left_out: What was not read, in words.
        broken: Images that were left out because they cannot be read: the reason by name.
        dropped: Names of training images that were dropped because they are also in another part.
        doubts: Sentences about what may be meant in another way.
        cut: The parts, of ``test`` and ``validation``, that the data set does not have itself.
        copies: Images that lie in two parts, before any were dropped.
    """

    layout: str = ""
    left_out: tuple[str, ...] = ()
    broken: Mapping[str, str] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    copies: Copies = field(default_factory=lambda: Copies(np.empty((0, 2), np.int64), np.empty(0, bool), whole=True))

    def notes(self) -> list[str]:
        """Return lines for the user about everything that may not be as expected; none for a tidy data set."""
        notes = [note] if (note := self.cut_note()) else []
        if self.layout.startswith("class folders in "):
            notes.append(f"It has its {self.layout}.")
        notes += self.doubts
        if self.left_out:
            notes.append(f"Left out: {'; '.join(self.left_out)}.")
        if self.broken:
            named = some([f"{name} ({why})" for name, why in self.broken.items()], NAMED, "; ")
            notes.append(f"Left out by skip_broken=yes: {len(self.broken):,} images that cannot be read: {named}.")
        if len(self.copies):
            again = int((~self.copies.exact).sum())
            what = f", {again:,} of them encoded again" if again else ""
            remedy = (
                f"{len(self.dropped):,} training images were dropped"
                if self.dropped
                else "drop_duplicates=train leaves them out of training, `eda` lists them"
            )
            notes.append(f"{len(self.copies):,} pairs of images are the same in two parts{what}: {remedy}.")
        if not self.copies.whole:
            notes.append("Only images with the same pixels were looked for in two parts: too many pictures are alike.")
        return notes

    def cut_note(self) -> str:
        """Say that test images are cut from those for training; empty if there are no parts, or a part for test."""
        if not self.layout or self.layout.startswith("class folders") or "test" not in self.cut:
            return ""
        val = " and the validation images" if "validation" in self.cut else ""
        return f"It has {self.layout}: the test images{val} are cut from the training images."

    def facts(self) -> dict[str, object]:
        """Return what to record with a run, as plain values."""
        return {
            "layout": self.layout,
            "left_out": list(self.left_out),
            "broken": dict(self.broken),
            "dropped": list(self.dropped),
            "cut": list(self.cut),
            "copies": len(self.copies),
        }
