"""A box for ``armoflow worker``: what a pod gives it, and nothing more.

A user without name and home, a root that cannot be written to, 512 MiB, half a processor. Only one
directory can be written to, as ``/cache/shared`` of a pod: there agent and worker meet.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from armoflow.config import MIB

USER = 12_345
MEMORY = 512 * MIB
_CGROUPS = Path("/sys/fs/cgroup")
_TOOLS = ("unshare", "setpriv", "mount")


class NoBox(Exception):
    """This machine lets nobody make one."""


@contextlib.contextmanager
def cgroup(memory: int = MEMORY) -> Iterator[list[Path]]:
    """A cgroup of that much memory and half a processor: the files that take members.

    Raises:
        NoBox: If none can be made.
    """
    name = f"armoflow-box-{os.getpid()}-{time.monotonic_ns()}"
    if (_CGROUPS / "cgroup.controllers").exists():
        limits = {_CGROUPS / name: {"memory.max": memory, "cpu.max": "50000 100000"}}
    else:
        limits = {
            _CGROUPS / "memory" / name: {"memory.limit_in_bytes": memory},
            _CGROUPS / "cpu" / name: {"cpu.cfs_quota_us": 50_000},
        }
    made: list[Path] = []
    try:
        try:
            for directory, values in limits.items():
                directory.mkdir()
                made.append(directory)
                for file, value in values.items():
                    (directory / file).write_text(str(value))
        except OSError as error:
            raise NoBox(f"no cgroup can be made: {error}") from error
        yield [directory / "cgroup.procs" for directory in made]
    finally:
        for directory in made:
            _remove(directory)


def _remove(directory: Path) -> None:
    """Its last processes may be ending just now."""
    for _ in range(500):
        with contextlib.suppress(OSError):
            directory.rmdir()
            return
        time.sleep(0.02)
    raise AssertionError(f"{directory}: {(directory / 'cgroup.procs').read_text().split()}")


def command(writable: Path, members: list[Path], python: str = sys.executable) -> str:
    """The command line of a worker in a box."""
    join = "\n".join(f"echo $$ > {shlex.quote(str(file))}" for file in members)
    there = shlex.quote(str(writable))
    script = f"""
        set -e
        {join}
        for place in /tmp /var/tmp /dev/shm; do
            mount --bind $place $place; mount -o remount,bind,ro $place
        done
        mount --bind {there} {there}; mount -o remount,bind,rw {there}
        mount -o remount,bind,ro /
        # The files of this machine's Python, and those of an agent that runs as root: in a pod they
        # would be the user's.
        exec setpriv --reuid {USER} --regid {USER} --clear-groups \\
            --inh-caps=-all,+dac_override --ambient-caps=-all,+dac_override \\
            env -u HOME -u USER -u LOGNAME -u TMPDIR \\
            {shlex.quote(python)} -m armoflow.cli.main worker
    """
    return shlex.join(["unshare", "--mount", "--propagation", "private", "sh", "-c", script])


@contextlib.contextmanager
def box(writable: Path, memory: int = MEMORY) -> Iterator[str]:
    """The command line of a worker in a box, while it can be used.

    Raises:
        NoBox: If none can be made.
    """
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        raise NoBox(f"needs root, {', '.join(_TOOLS)}")
    probe = ["unshare", "--mount", "--propagation", "private", "true"]
    if subprocess.run(probe, check=False, capture_output=True).returncode:
        raise NoBox("mount namespaces cannot be made")
    with cgroup(memory) as members:
        yield command(writable, members)


def start(
    writable: Path, worker: str, environment: Mapping[str, str] = os.environ
) -> subprocess.Popen[str]:
    """An engine like a stock cluster, whose agents and state are in the writable directory."""
    endpoint = f"unix:{writable}/engine.sock"
    temporary = writable / "tmp"
    temporary.mkdir()
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "armoflow.cli.main", "up", "--listen", endpoint),
            *("--state", str(writable / "state"), "--workers", "1", "--worker", worker),
            *("--no-extensions", "--delete-payload", "--log-level", "warning"),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={**environment, "TMPDIR": str(temporary)},
    )
