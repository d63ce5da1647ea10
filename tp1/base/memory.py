"""How much memory this process can still take: the machine's free memory, and the limits that are set for it."""

import resource
from pathlib import Path

import psutil

SHARE = 0.8  # of the free memory that data may take; the rest is for the work


def fits(needed: int) -> bool:
    """Whether data of ``needed`` bytes fit in memory beside the work that is done on them."""
    return needed <= SHARE * free_memory()


def free_memory(root: Path = Path("/")) -> int:
    """Bytes that this process can still take.

    The least of the machine's free memory, of what the process's own limits leave (``ulimit -d`` and ``-v``), and of
    what its control groups leave (version 2: those of containers, of systemd and of Slurm).

    Args:
        root: Where ``proc`` and ``sys`` are.
    """
    return max(0, min([psutil.virtual_memory().available, *_own_limits(root), *_group_limits(root)]))


def _own_limits(root: Path) -> list[int]:
    taken = _fields(root / "proc/self/status")
    found = []
    for kind, name in ((resource.RLIMIT_DATA, "VmData:"), (resource.RLIMIT_AS, "VmSize:")):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            found.append(limit - 1024 * taken.get(name, 0))
    return found


def _group_limits(root: Path) -> list[int]:
    """What each control group of this process leaves; files that it has cached can make way."""
    path = next((line[3:] for line in _lines(root / "proc/self/cgroup") if line.startswith("0::/")), None)
    if path is None:
        return []
    found = []
    folder = root / "sys/fs/cgroup" / path.lstrip("/")
    for group in (folder, *folder.parents):
        limit, taken = (_lines(group / name) for name in ("memory.max", "memory.current"))
        if limit and taken and limit[0].isdecimal() and taken[0].isdecimal():
            cached = _fields(group / "memory.stat")
            files = cached.get("inactive_file", 0) + cached.get("active_file", 0)
            found.append(int(limit[0]) - int(taken[0]) + files)
        if group == root / "sys/fs/cgroup":
            break
    return found


def _fields(path: Path) -> dict[str, int]:
    """The numbers of a file of lines ``name number ...``."""
    fields = (line.split() for line in _lines(path))
    return {words[0]: int(words[1]) for words in fields if len(words) > 1 and words[1].isdecimal()}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:  # as where the system is not Linux
        return []
