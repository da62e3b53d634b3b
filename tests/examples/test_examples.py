"""Every example runs, and prints what its last comment says."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.wheels import wheel_of

ROOT = Path(__file__).resolve().parents[2]
SMALL: dict[str, list[str]] = {
    "environments": ["--sensors", "2", "--length", "200"],
    "mandelbrot": ["--width", "72", "--height", "48", "--iterations", "50"],
    "monte_carlo_pi": ["--throws", "5", "--points", "100"],
    "option_pricing": ["--paths", "200"],
    "parameter_sweep": ["--neighbours", "5"],
    "queens": ["--size", "6", "--depth", "2"],
    "word_count": ["--chapters", "5"],
}
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))


@pytest.fixture(scope="module", autouse=True)
def _packages_at_hand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What an example requires is installed without a network."""
    directory = tmp_path_factory.mktemp("wheels")
    wheel_of(directory, "sortedcontainers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UV_OFFLINE", "1")
        patch.setenv("UV_FIND_LINKS", str(directory))
        patch.setenv("ARMOFLOW_ENVIRONMENTS", str(directory / "environments"))
        yield


def run(example: str, *arguments: str, **environment: str) -> str:
    """What the example prints."""
    completed = subprocess.run(
        [sys.executable, Path("examples") / f"{example}.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=110,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def small(example: str, directory: Path) -> list[str]:
    """Arguments with which the example takes a moment, and writes nothing of its own."""
    output = ["--output", str(directory / "picture.png")] if example == "mandelbrot" else []
    return SMALL[example] + output


def described(example: str) -> str:
    """What the example's last comment says that it prints."""
    source = (ROOT / "examples" / f"{example}.py").read_text(encoding="utf-8")
    _, _, comment = source.partition("\n# Output:\n")
    return "".join(
        line.removeprefix("# ").removeprefix("#") + "\n" for line in comment.splitlines()
    )


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_prints_what_it_says(example: str) -> None:
    assert run(example) == described(example)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs_the_same_on_a_stock_cluster_and_in_debug_mode(
    example: str, tmp_path: Path, start_engine: Callable[..., str]
) -> None:
    """Our worker as any ArmoniK worker, and the standard API alone."""
    worker = f"{shlex.quote(sys.executable)} -m armoflow.cli.main worker"
    endpoint = start_engine("--worker", worker, "--no-extensions", "--delete-payload")
    arguments = small(example, tmp_path)
    printed = run(example, *arguments, ARMOFLOW_ENDPOINT=endpoint)
    assert printed == run(example, *arguments, "--local")


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    run("mandelbrot", *small("mandelbrot", tmp_path))
    data = (tmp_path / "picture.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")) == (72, 48)
