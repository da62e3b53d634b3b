"""What is counted: CPU time, memory and stored bytes of a tree of processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

from benchmarks.suite.measure import Meter, OtherPrograms, Sample, Sampler, stored_bytes
from tests.processes import running

BURN = "import time\nwhile time.process_time() < 0.3: pass\n"
GROW = "data = bytearray(b'x') * 50_000_000\nprint('ready', flush=True)\ninput()\n"


def test_a_child_that_ended_counts() -> None:
    meter = Meter()
    with meter.section():
        subprocess.run([sys.executable, "-c", BURN], check=True)
    assert meter.cpu_seconds >= 0.25
    assert meter.started < meter.ended


def test_a_child_that_lives_counts_only_for_the_section() -> None:
    script = f"{BURN}print('ready', flush=True)\ninput()\n"
    with running(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        meter = Meter()
        with meter.section():
            pass
        assert meter.cpu_seconds < 0.2
        child.communicate(b"\n")


def test_memory_of_children_counts() -> None:
    meter = Meter()
    before = meter.memory()
    with running(
        [sys.executable, "-c", GROW], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert meter.memory() - before > 45_000_000
        child.communicate(b"\n")


def test_stored_bytes(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"x" * 1_000_000)
    (tmp_path / "link").symlink_to(tmp_path / "deep")
    assert 1_000_000 <= stored_bytes(tmp_path) < 1_100_000
    assert stored_bytes(tmp_path / "gone") == 0


def test_peaks_of_a_section_include_the_samples_around_it(tmp_path: Path) -> None:
    sampler = Sampler(psutil.Process(), tmp_path)
    sampler.samples = [
        Sample(0.0, memory=900, store=900),
        Sample(1.0, memory=10, store=5),
        Sample(2.0, memory=20, store=7),
        Sample(3.0, memory=30, store=1),
        Sample(4.0, memory=900, store=900),
    ]
    peaks = sampler.peaks(1.5, 2.5)
    assert (peaks.memory, peaks.store, peaks.together, peaks.idle_store) == (30, 7, 31, 5)
    assert Sampler(psutil.Process(), tmp_path).peaks(0.0, 1.0) == (0, 0, 0, 0)


def test_cores_that_other_programs_left() -> None:
    others = OtherPrograms()
    others._samples = [(0.0, 10.0), (1.0, 10.0), (2.0, 10.5), (3.0, 11.5)]
    cores = psutil.cpu_count() or 1
    assert others.cores_left(0.0, 1.0) == cores
    assert others.cores_left(1.0, 2.0) == cores - 0.5
    assert others.cores_left(1.5, 2.5) == cores - 0.75
