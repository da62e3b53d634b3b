"""The image of the worker: its steps are carried out, and what they make works."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from armoflow.version import __version__
from tests.deploy.dockerfile import build as carry_out
from tests.deploy.dockerfile import read
from tests.examples.test_examples import described, run

pytestmark = pytest.mark.timeout(600)  # packages are downloaded

ARGUMENTS, BUILD, FINAL = read()
(BASE,) = [step.text.removeprefix("BASE=") for step in ARGUMENTS]
BASE_PYTHON = re.findall(r"python:(\d+\.\d+)-", BASE)[0]


def own_python() -> str:
    return ".".join(map(str, sys.version_info[:2]))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if own_python() != BASE_PYTHON:
        pytest.skip(f"the image has Python {BASE_PYTHON}, this is {own_python()}")
    root = tmp_path_factory.mktemp("image")
    carry_out(root, BUILD)
    return root


def output(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_what_is_installed_is_pinned(image: Path) -> None:
    python = image / "opt/armoflow/bin/python"
    (pins,) = [step.here.split() for step in BUILD if step.here]
    # Not from here: the package itself, which has no version of an index.
    frozen = output(python, "-m", "pip", "freeze", "--exclude", "armoflow").split()
    assert {pin.lower() for pin in frozen} <= {pin.lower() for pin in pins}
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", pin) for pin in pins)
    assert output(python, "-c", "import armoflow; print(armoflow.__version__)").strip() == (
        __version__
    )


def test_an_example_runs_through_the_images_worker(
    image: Path, start_engine: Callable[..., str]
) -> None:
    """As its entry point starts it."""
    (entry,) = [step.text for step in FINAL if step.name == "ENTRYPOINT"]
    assert entry == '["armoflow", "worker"]'
    command = f"{image}/opt/armoflow/bin/armoflow worker"
    endpoint = start_engine("--worker", command, "--no-extensions", "--delete-payload")
    assert run("word_count", ARMOFLOW_ENDPOINT=endpoint) == described("word_count")


def test_the_final_stage() -> None:
    steps = {name: [step.text for step in FINAL if step.name == name] for name, _, _ in FINAL}
    assert steps["FROM"] == ["${BASE}"]
    assert steps["USER"] == ["armonikuser"]
    (run_,) = steps["RUN"]
    for part in ("--uid 5000 --gid 5000", "mkdir -p /cache/shared", "chown -R armonikuser: /cache"):
        assert part in run_
    assert "PYTHONUNBUFFERED=1" in steps["ENV"][0]
    (copied,) = steps["COPY"]
    assert copied == "--from=build /opt/armoflow /opt/armoflow"
