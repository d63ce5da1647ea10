"""File names of checkpoints, for code that lists checkpoints without importing torch."""

from pathlib import Path


def checkpoint_name(epochs: int, steps: int) -> str:
    """Return ``<epochs done>-<steps done in the next>.safetensors``; names sort in order of training."""
    return f"{epochs:06d}-{steps:09d}.safetensors"


def checkpoint_paths(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, newest first."""
    return sorted(folder.glob("[0-9]*-[0-9]*.safetensors"), reverse=True)


def epochs_done(path: Path) -> int:
    """Return the number of completed epochs in a checkpoint's name."""
    return int(path.name.partition("-")[0])
