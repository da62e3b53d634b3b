"""What goes along with a task, and what has to be installed where it runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import armoflow
from armoflow import task
from armoflow.errors import GraphError, SignatureError

HELPER = """
import json
import numpy

from travelling_second import double
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "travelling_first.py").write_text(HELPER)
    (tmp_path / "travelling_second.py").write_text("def double(x): return 2 * x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("travelling_first", "travelling_second"):
        sys.modules.pop(name, None)


def test_own_modules_go_along_with_what_they_import_packages_are_named(project: Path) -> None:
    @task
    def work(number: int) -> int:
        import travelling_first
        import yaml

        return len(yaml.dump(travelling_first.double(number)))

    found = armoflow.what_travels(work)
    own = {name: path for name, path in found.by_value.items() if name.startswith("travelling")}
    assert own == {
        name: str(project / f"{name}.py") for name in ("travelling_first", "travelling_second")
    }
    names = {package.partition(" ")[0].lower() for package in found.by_name}
    assert {"numpy", "pyyaml"} <= names
    assert not {"json", "armoflow", "cloudpickle"} & names
    told = str(found)
    assert f"  travelling_second  {project / 'travelling_second.py'}" in told.splitlines()


def test_a_function_that_needs_nothing() -> None:
    scope: dict[str, object] = {"__name__": "__main__"}
    exec("def plain(x): return x + 1", scope)
    found = armoflow.what_travels(scope["plain"])  # type: ignore[arg-type]
    assert found.by_value == {} and found.by_name == ()
    assert str(found).endswith("by name, to be installed where it runs:\n  nothing")


def test_what_is_no_task_is_refused_and_arguments_are_not_looked_at() -> None:
    work = task(lambda x: x)
    with pytest.raises(GraphError, match=r"what_travels\(\) takes a task, or a function, not 3$"):
        armoflow.what_travels(3)  # type: ignore[arg-type]
    with pytest.raises(GraphError, match="a task, or a function, not "):
        armoflow.what_travels(work(1))  # type: ignore[arg-type]
    with pytest.raises(SignatureError, match="looks at no arguments"):
        armoflow.what_travels(work, 3)  # type: ignore[arg-type]
