"""The processes of one run, which ``torchrun`` starts; without it, a run is one process."""

import os

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def process_count() -> int:
    """Number of processes of this run, on all machines."""
    return _number("WORLD_SIZE", 1)


def process_rank() -> int:
    """Number of this process among them, from 0."""
    return _number("RANK", 0)


def processes_here() -> int:
    """Number of processes of this run on this machine."""
    return _number("LOCAL_WORLD_SIZE", 1)


def rank_here() -> int:
    """Number of this process among those on this machine, from 0."""
    return _number("LOCAL_RANK", 0)


def _number(name: str, default: int) -> int:
    # Others set WORLD_SIZE too; only with all of these can processes find each other.
    return int(os.environ[name]) if all(os.environ.get(one) for one in VARIABLES) else default
