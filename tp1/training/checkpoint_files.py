"""The names of checkpoints, for all who list them without loading torch."""

from pathlib import Path


def checkpoint_name(epochs: int, steps: int) -> str:
    """``<epochs done>-<steps done in the next>.safetensors``; later checkpoints sort behind earlier ones."""
    return f"{epochs:06d}-{steps:09d}.safetensors"


def checkpoint_paths(folder: Path) -> list[Path]:
    """The checkpoints in a folder, newest first."""
    return sorted(folder.glob("[0-9]*-[0-9]*.safetensors"), reverse=True)


def epochs_done(path: Path) -> int:
    """How many whole epochs a checkpoint has, by its name."""
    return int(path.name.partition("-")[0])
