"""A cluster whose workers share nothing with the client: neither disk, packages nor network.

Its ``armoflow worker`` is installed in a virtual environment of its own, and runs in a mount and a
network namespace. Of this machine's files it sees the system's, its own environment, and the folder
where agent and worker meet, as those of a pod do. There it can install what lies in ``wheels``.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement

from armoflow import Client, task
from tests.integration.box import NoBox
from tests.integration.engines import ARMOFLOW

ROOT = Path(__file__).parents[2]
_TOOLS = ("unshare", "mount")
_PATIENCE = 60.0


class Apart(NamedTuple):
    """The cluster.

    Attributes:
        endpoint: Where clients reach it.
        wheels: What is there can be installed by workers, and is seen by them alone.
        home: The environment that workers are installed in.
    """

    endpoint: str
    wheels: Path
    home: Path


@contextlib.contextmanager
def apart(workers: int = 1) -> Iterator[Apart]:
    """Such a cluster, for the length of a block.

    Raises:
        NoBox: If this machine lets nobody make one.
    """
    _check()
    # Not below /tmp alone: what is there is hidden from workers.
    with tempfile.TemporaryDirectory(prefix="af-") as name:
        place = Path(name)
        home, wheels = place / "home", place / "wheels"
        agents = (place / "state" / "staging", place / "state" / "agents", place / "tmp")
        for directory in (wheels, *agents):
            directory.mkdir(parents=True)
        _install(home)
        worker = _command(home, [home, wheels, *agents], wheels)
        with _engine(place, worker, workers) as endpoint:
            _wait_for_workers(endpoint, place / "log")
            yield Apart(endpoint, wheels, home)


def _wait_for_workers(endpoint: str, log: Path) -> None:
    """Fail here, and once, where they cannot run."""
    with Client(endpoint) as client:
        try:
            assert client.compute(task(os.getpid)(), timeout=_PATIENCE)
        except TimeoutError:
            pytest.fail(f"no worker takes tasks:\n{log.read_text()}")


def _check() -> None:
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        raise NoBox(f"needs root, {', '.join(_TOOLS)}")
    probe = ["unshare", "--mount", "--net", "--propagation", "private", "true"]
    if subprocess.run(probe, check=False, capture_output=True).returncode:
        raise NoBox("mount and network namespaces cannot be made")


def _install(home: Path) -> None:
    """A virtual environment with armoflow and what it needs, copied: no index is asked."""
    interpreter = Path(sys.executable).resolve()  # an environment's own is hidden from workers
    subprocess.run([interpreter, "-I", "-m", "venv", "--without-pip", home], check=True)
    (site,) = home.glob("lib/python*/site-packages")
    shutil.copytree(ROOT / "armoflow", site / "armoflow", copy_function=_copy)
    distributions = _needed("armoflow", {})
    for name in ("armoflow", "uv"):
        distributions[name] = importlib.metadata.distribution(name)
    for name, distribution in distributions.items():
        for file in distribution.files or ():
            source = Path(str(distribution.locate_file(file)))
            facts = file.parts[0].endswith(".dist-info")  # of armoflow the rest is here already
            if source.is_file() and (facts or name != "armoflow"):
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                _copy(str(source), str(site / file))


def _copy(source: str, target: str) -> str:
    """Another name for the same file, where that can be had: it is seen by this name alone."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def _needed(
    name: str, found: dict[str, importlib.metadata.Distribution]
) -> dict[str, importlib.metadata.Distribution]:
    for text in importlib.metadata.requires(name) or ():
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        if requirement.name not in found:
            found[requirement.name] = importlib.metadata.distribution(requirement.name)
            _needed(requirement.name, found)
    return found


def _command(home: Path, seen: list[Path], wheels: Path) -> str:
    """The command line of a worker that sees these directories, and no others of ours."""
    held = "/mnt"
    hidden = [tempfile.gettempdir(), str(ROOT)]
    kept = " ".join(shlex.quote(str(path)) for path in seen)
    script = f"""
        set -e
        mount -t tmpfs none {held}
        number=0
        for path in {kept}; do
            number=$((number + 1)); mkdir {held}/$number; mount --bind $path {held}/$number
        done
        for path in {shlex.join(hidden)}; do mkdir -p $path; mount -t tmpfs none $path; done
        number=0
        for path in {kept}; do
            number=$((number + 1)); mkdir -p $path; mount --bind {held}/$number $path
        done
        cd /
        unset PYTHONPATH VIRTUAL_ENV
        export UV_OFFLINE=1 UV_FIND_LINKS={shlex.quote(str(wheels))}
        export HOME={shlex.quote(tempfile.gettempdir())} PATH=/usr/bin:/bin
        exec {shlex.quote(str(home))}/bin/python -m armoflow.cli.main worker
    """
    options = ("--mount", "--net", "--propagation", "private")
    return shlex.join(["unshare", *options, "sh", "-c", script])


@contextlib.contextmanager
def _engine(place: Path, worker: str, workers: int) -> Iterator[str]:
    endpoint = f"unix:{place}/engine.sock"
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(*ARMOFLOW, "up", "--listen", endpoint, "--state", str(place / "state")),
                *("--workers", str(workers), "--worker", worker, "--no-extensions"),
                *("--delete-payload", "--log-level", "warning"),
            ],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "TMPDIR": str(place / "tmp")},
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("ready: "), (place / "log").read_text()
            yield line.removeprefix("ready: ").strip()
        finally:
            process.terminate()
            process.communicate(timeout=60)
