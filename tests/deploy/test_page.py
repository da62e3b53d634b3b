"""What docs/deploy.md shows is well formed, and agrees with the image and the program."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from armoflow import config
from armoflow.system.memory import ContainerMemory
from armoflow.version import __version__
from armoflow.worker import killing
from armoflow.worker.addresses import Addresses
from armoflow.worker.serve import grace_seconds
from tests.deploy.dockerfile import ROOT, read

PAGE = (ROOT / "docs" / "deploy.md").read_text("utf-8")
SOURCES = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "armoflow").rglob("*.py")))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


def test_the_helm_values() -> None:
    (text,) = blocks("yaml")
    partition = yaml.safe_load(text)["partitions"]["armoflow"]
    assert partition["worker"]["image"]["tag"] == __version__
    grace = grace_seconds(partition["worker"]["conf"]["env"])
    assert 15 < grace < partition["terminationGracePeriodSeconds"]
    socket_type = {"ComputePlane__WorkerChannel__SocketType": partition["socketType"]}
    assert Addresses.from_environment(socket_type).worker_socket is not None


@pytest.mark.skipif(shutil.which("terraform") is None, reason="needs terraform")
def test_the_terraform_variables() -> None:
    (text,) = blocks("hcl")
    done = subprocess.run(
        ["terraform", "fmt", "-"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, text), done.stderr


def test_images_have_the_packages_version() -> None:
    tags = set(re.findall(r"armoflow-worker:([\w.]+)", PAGE))
    assert tags == {__version__}
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert set(re.findall(r"armoflow-worker:([\w.]+)", dockerfile)) == {__version__}
    (extended,) = blocks("dockerfile")
    (user,) = [step.text for step in read()[-1] if step.name == "USER"]
    assert extended.rstrip().endswith(f"USER {user}")


def test_the_numbers_are_those_of_the_program() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", PAGE, re.M))
    assert float(rows["ARMOFLOW_GRACE"]) == config.WORKER_GRACE
    defaults = Addresses.from_environment({})
    assert rows["ComputePlane__WorkerChannel__Address"].strip("` ") == str(defaults.worker_socket)
    assert rows["ComputePlane__AgentChannel__Address"].strip("` ") == str(defaults.agent_socket)
    assert config.MEMORY_MARGIN == (16, 16 * config.MIB, 128 * config.MIB)
    assert (config.CACHES_SHARE, config.SPARE_MEMORY) == (8, 256 * config.MIB)
    assert config.FETCH_PATIENCE == 5.0


def test_the_symptoms_are_what_the_program_says() -> None:
    said = [
        "the memory of its container is used up",
        "there is no directory for temporary files",
        "a worker process cannot start",
        "known are unixdomainsocket and tcp",
        "not written by armoflow",
        "but this worker has",
        "the agent failed: ",
    ]
    for text in said:
        assert text in PAGE and text in SOURCES, text


def test_the_error_of_a_task_that_takes_all_memory(tmp_path: Path) -> None:
    class Full(ContainerMemory):
        def __init__(self) -> None:
            self.limit = 512 * config.MIB

        def taken(self, enough: int = 0) -> int:
            return 490 * config.MIB

        def is_largest(self, pid: int) -> bool:
            return True

    class Child:
        pid = 1

    reason = killing.memory_is_short(Full(), Child())  # type: ignore[arg-type]
    shown = re.sub(r"\s+", " ", PAGE)
    assert f"*{reason.partition('. ')[0]}*" in shown
