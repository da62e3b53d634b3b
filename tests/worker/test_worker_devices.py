"""Which graphics processors a machine has, and a process sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from armoflow.system.devices import visible_devices
from armoflow.worker.home import Home


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ("", ()),
        ("0", ("0",)),
        ("3, 1", ("3", "1")),
        ("1,1", ("1",)),
        ("2,-1,0", ("2",)),
        ("-1", ()),
        ("NoDevFiles", ()),
        ("MIG-c7384736,GPU-1", ("MIG-c7384736", "GPU-1")),
    ],
)
def test_a_variable_chooses_as_it_does_for_cuda(
    said: str, seen: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "nvidia0").touch()
    assert visible_devices({"CUDA_VISIBLE_DEVICES": said}, str(tmp_path)) == seen


def test_without_it_all_are_seen_that_the_machine_shows(tmp_path: Path) -> None:
    assert visible_devices({}, str(tmp_path)) == visible_devices({}, str(tmp_path / "none")) == ()
    for name in ("nvidia1", "nvidia3", "nvidiactl", "nvidia-uvm", "nvidia-caps", "tty0"):
        (tmp_path / name).touch()
    assert visible_devices({}, str(tmp_path)) == ("0", "1")  # CUDA counts those that it finds


def test_a_process_is_told_when_it_starts() -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "0,1", "LANG": "C"}
    assert Home().variables(environment) == environment
    one = Home(devices=("1",)).variables(environment)
    assert one == {"CUDA_VISIBLE_DEVICES": "1", "LANG": "C"}
