"""What the container around a process grants, in both versions of cgroups."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from armoflow.config import MIB
from armoflow.system.memory import container_memory

STAT_2 = f"anon 7\nfile {90 * MIB}\ninactive_file {60 * MIB}\nactive_file {20 * MIB}\n"
STAT_1 = f"active_file 1\ntotal_inactive_file {60 * MIB}\ntotal_active_file {20 * MIB}\n"


def lay_out(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


VERSION_2 = {
    "proc/self/cgroup": "0::/pod/worker\n",
    "sys/fs/cgroup/memory.max": "max",
    "sys/fs/cgroup/pod/memory.max": str(800 * MIB),
    "sys/fs/cgroup/pod/worker/memory.max": str(512 * MIB),
    "sys/fs/cgroup/pod/worker/memory.current": str(500 * MIB),
    "sys/fs/cgroup/pod/worker/memory.stat": STAT_2,
}
VERSION_1 = {
    "proc/self/cgroup": "4:memory:/kubepods/x\n3:cpu:/\n0::/\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": str(512 * MIB),  # of the container, seen inside
    "sys/fs/cgroup/memory/memory.usage_in_bytes": str(500 * MIB),
    "sys/fs/cgroup/memory/memory.stat": STAT_1,
}


@pytest.mark.parametrize("files", [VERSION_2, VERSION_1])
def test_the_tightest_limit_and_what_cannot_be_given_back(
    tmp_path: Path, files: dict[str, str]
) -> None:
    memory = container_memory(lay_out(tmp_path, files))
    assert memory is not None
    assert memory.limit == 512 * MIB
    assert memory.taken() == 420 * MIB
    assert memory.taken(enough=510 * MIB) == 500 * MIB  # need not be known better


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": "0::/\n"},
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max"},
        {
            "proc/self/cgroup": "4:memory:/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        },
    ],
)
def test_no_limit(tmp_path: Path, files: dict[str, str]) -> None:
    assert container_memory(lay_out(tmp_path, files)) is None


def test_who_takes_most(tmp_path: Path) -> None:
    code = "import sys; block = bytearray(int(sys.argv[1])); print(flush=True); sys.stdin.read()"
    sizes = 80 * MIB, 8 * MIB
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for size in sizes
    ]
    try:
        for process in started:
            assert process.stdout is not None and process.stdout.readline()
        large, small = (process.pid for process in started)
        lay_out(tmp_path, VERSION_2)
        below = "sys/fs/cgroup/pod/worker/task/cgroup.procs"
        lay_out(tmp_path, {below: f"{small}\n{large}\n{2**22}\n"})
        memory = container_memory(tmp_path)
        assert memory is not None
        assert memory.is_largest(large) and not memory.is_largest(small)
        assert memory.is_largest(os.getpid())  # with those that it has started
    finally:
        for process in started:
            process.communicate()
