"""The free memory is what the machine, the process's limits and its control groups leave."""

import re
import resource
from pathlib import Path

import psutil
import pytest

from tp1.base.memory import fits, free_memory

GIB = 1 << 30


def test_without_limits_it_is_the_machines(tmp_path):
    assert free_memory(tmp_path) == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    assert fits(1000)
    assert not fits(psutil.virtual_memory().total)


@pytest.mark.parametrize("kind", [resource.RLIMIT_DATA, resource.RLIMIT_AS])
def test_a_limit_of_the_process_counts(kind):
    before = resource.getrlimit(kind)
    field = "VmSize" if kind == resource.RLIMIT_AS else "VmData"
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    taken = 1024 * int(re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)[1])
    resource.setrlimit(kind, (taken + 3 * GIB, before[1]))
    try:
        assert free_memory() < min(3 * GIB + 1, psutil.virtual_memory().total)
        assert fits(GIB) or psutil.virtual_memory().available < 2 * GIB
        assert not fits(3 * GIB)
    finally:
        resource.setrlimit(kind, before)


def test_the_limit_of_a_container_counts_and_cached_files_make_way(tmp_path):
    group = tmp_path / "sys/fs/cgroup/slurm/job_7"
    for folder, limit in ((group, "max"), (group.parent, str(1 << 20)), (group.parent.parent, str(8 << 20))):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(f"{limit}\n", encoding="utf-8")
        (folder / "memory.current").write_text(f"{900 << 10}\n", encoding="utf-8")
        (folder / "memory.stat").write_text(f"anon 5\ninactive_file {100 << 10}\nactive_file 24\n", encoding="utf-8")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/slurm/job_7\n", encoding="utf-8")
    assert free_memory(tmp_path) == (1 << 20) - (900 << 10) + (100 << 10) + 24
