"""What goes to an index: complete and described; and what the examples say that they need."""

from __future__ import annotations

import ast
import email
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from armoflow.version import __version__

tomllib: Any = pytest.importorskip("tomllib", reason="Python 3.11")
ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A wheel and a source distribution."""
    directory = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(directory)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,), (source,) = directory.glob("*.whl"), directory.glob("*.tar.gz")
    return wheel, source


def test_an_index_takes_them(built: tuple[Path, Path]) -> None:
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_wheel_has_the_package_and_nothing_else(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[0]) as wheel:
        names = wheel.namelist()
        (facts,) = (name for name in names if name.endswith("/METADATA"))
        told = email.message_from_string(wheel.read(facts).decode())
    assert {name.partition("/")[0] for name in names} == {
        "armoflow",
        f"armoflow-{__version__}.dist-info",
    }
    assert "armoflow/py.typed" in names
    assert told["Version"] == __version__
    assert told["License-Expression"] == "Apache-2.0"
    extras = set(told.get_all("Provides-Extra") or ())
    assert extras >= {"cli", "dashboard", "dask", "joblib", "otel", "uv"}


def test_links_of_the_page_on_an_index_lead_somewhere(built: tuple[Path, Path]) -> None:
    """It is the README, whose paths mean nothing there."""
    with zipfile.ZipFile(built[0]) as wheel:
        (facts,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
        page = wheel.read(facts).decode().partition("\n\n")[2]
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert len(links) > 10
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    repository = _project()["urls"]["Repository"]
    assert f"{repository}/raw/main/docs/images/dashboard.png" in links
    assert f"{repository}/blob/main/docs/tutorial.md" in links


def test_the_sources_build_the_same(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as source, zipfile.ZipFile(built[0]) as wheel:
        inside = {name.partition("/")[2] for name in source.getnames()}
        assert {name for name in wheel.namelist() if name.startswith("armoflow/")} <= inside
    assert {"LICENSE", "README.md", "pyproject.toml", "llms.txt"} <= inside


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_what_it_needs(example: Path) -> None:
    """As ``uv run`` reads it (PEP 723)."""
    text = example.read_text()
    found = re.search(r"(?m)^# /// script$\s(?P<content>(^#(| .*)$\s)+)^# ///$", text)
    assert found is not None
    facts = tomllib.loads("".join(line[2:] for line in found["content"].splitlines(True)))
    assert facts["requires-python"] == _project()["requires-python"]
    named = {Requirement(one).name for one in facts["dependencies"]}
    assert named == _imported(text)


def _imported(text: str) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add((node.module or "").partition(".")[0])
    return modules - sys.stdlib_module_names


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def test_the_page_lists_the_extras_that_there_are() -> None:
    page = (ROOT / "docs" / "install.md").read_text()
    extras = _project()["optional-dependencies"].keys() - {"dev", "docs", "bench"}
    assert set(re.findall(r"(?m)^\| `(\w+)` \|", page)) == extras


def test_what_language_models_read_leads_to_pages() -> None:
    text = (ROOT / "llms.txt").read_text()
    linked = re.findall(r"\]\(([^)]+)\)", text)
    assert [page for page in linked if not (ROOT / page).exists()] == []
    pages = {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}
    assert pages - set(linked) == {"docs/index.md"}
    assert text.startswith("# armoflow\n\n> ")
