"""What is imported until the first result is there: all that takes time for nothing stays away.

A client, its engine and a worker process start at once on a few processors; each millisecond of one
delays the others. gRPC, ArmoniK's messages and networkx take tens of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from armoflow.system import guardian_program

CALLS = {"grpc", "google", "armonik"}
LATER = {
    *CALLS,
    "armoflow.cli",
    "armoflow.dashboard",
    "armoflow.protocol.introduction",
    "armoflow.protocol.messages",
    "armoflow.protocol.standard",
    "armoflow.report",
    "networkx",
    "rich",
    "yaml",
}
IN_CLIENTS = {*LATER, "armoflow.engine.server"}
IN_WORKERS = {
    *LATER,
    "armoflow.client.backend",
    "armoflow.engine.core",
    "armoflow.orchestrator.orchestrator",
    "asyncio",
    "sqlite3",
    "ssl",
}
IN_ENGINES = ("cygrpc", "_upb")
"""Libraries of gRPC and of ArmoniK's messages."""

PROGRAM = """
import json, sys
from pathlib import Path
from armoflow import Client, task
started = sorted(sys.modules)

@task
def worker():
    import sys
    return sorted(sys.modules)

client = Client(workers=1)
found = {"package": started, "worker": client.submit(worker()).result()}
maps = Path(f"/proc/{client._backend._engine.pid}/maps").read_text()
found["engine"] = sorted({line.rpartition("/")[2] for line in maps.splitlines()})
client.close()
found["client"] = sorted(sys.modules)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The modules of each process of a script, the libraries of its engine."""
    script = tmp_path_factory.mktemp("script") / "script.py"
    script.write_text(PROGRAM)
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


def test_a_client_needs_no_grpc_from_its_start_to_its_end(found: Any) -> None:
    assert not among(found["package"], IN_CLIENTS)
    assert not among(found["client"], IN_CLIENTS)


def test_a_worker_process_imports_what_runs_a_task(found: Any) -> None:
    assert not among(found["worker"], IN_WORKERS)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="this system has no /proc")
def test_an_engine_that_nobody_calls_has_no_grpc(found: Any) -> None:
    assert not [name for name in found["engine"] if name.startswith(IN_ENGINES)]


def test_an_engine_starts_before_its_client_imports_what_it_needs_besides() -> None:
    """It is imported while the engine's process does the same."""
    needed = {"armoflow.client.client", "armoflow.client.private_engine"}
    besides = {
        "asyncio",
        "cloudpickle",
        "socket",
        "armoflow.client.future",
        "armoflow.codec.payload",
    }
    imported = after("from armoflow.client.client import Client")
    assert needed <= imported and not among(imported, besides)


def test_a_guardian_needs_next_to_nothing_until_its_owner_has_begun() -> None:
    path = Path(guardian_program.__file__)
    imported = after(f"exec(open({str(path)!r}).read(), {{'__name__': 'program'}})", "-I", "-S")
    assert not among(imported, {"armoflow", "pathlib", "re", "subprocess", "typing"})


def test_help_lists_commands_without_loading_them() -> None:
    imported = after("from armoflow.cli.main import main; assert main(['--help']) == 0")
    assert not among(imported, {*CALLS, "armoflow.cli.ps", "armoflow.cli.up", "asyncio"})


def after(code: str, *options: str) -> set[str]:
    """The modules that there are after some code has run."""
    told = f"{code}; import sys; print('modules', *sys.modules)"
    command = [sys.executable, *options, "-c", told]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(run.stdout.splitlines()[-1].split()[1:])


def among(modules: Iterable[str], unwanted: set[str]) -> set[str]:
    """The modules that are unwanted, or within what is."""
    return {name for name in modules if not unwanted.isdisjoint(name[:end] for end in ends(name))}


def ends(name: str) -> list[int]:
    """Where a dotted name may be cut."""
    return [place for place, letter in enumerate(name) if letter == "."] + [len(name)]
