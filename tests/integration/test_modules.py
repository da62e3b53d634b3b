"""Projects of several files, run as scripts against an engine that stays: nothing is configured.

Every script runs in a process of its own in a directory of its own, against one living engine that
was started elsewhere and knows nothing of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.integration.engines import Up

ROOT = Path(__file__).parents[2]


class Project:
    """Some files, and an engine to run them with."""

    def __init__(self, directory: Path, engine: Up) -> None:
        self.directory = directory
        self._endpoint = engine.endpoint

    def write(self, **files: str) -> None:
        """Write files; ``package__module`` is ``package/module.py``."""
        for name, text in files.items():
            path = self.directory / (name.replace("__", "/") + ".py")
            path = Path(str(path).replace("/init.py", "/__init__.py"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))

    def run(self, *arguments: str, cwd: Path | None = None) -> str:
        """Run the script ``main.py``, or what the arguments say; what it prints."""
        command = [sys.executable, *(arguments or ["main.py"])]
        environment = {**os.environ, "ARMOFLOW_ENDPOINT": self._endpoint, "PYTHONPATH": str(ROOT)}
        ended = subprocess.run(
            command,
            cwd=cwd or self.directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.strip()


@pytest.fixture
def project(tmp_path: Path, engine: Up) -> Project:
    directory = tmp_path / "project"
    directory.mkdir()
    return Project(directory, engine)


MAIN = """
    from armoflow import Client, task
    from helper import shape

    @task
    def work(number):
        return shape(number)

    if __name__ == "__main__":
        with Client() as client:
            print(client.compute(work(3), work.map(range(3))))
"""


def test_a_helper_file_travels_and_is_never_stale(project: Project) -> None:
    project.write(main=MAIN, helper="def shape(number): return number + 1")
    assert project.run() == "(4, [1, 2, 3])"
    project.write(helper="def shape(number): return number * 100")
    assert project.run() == "(300, [0, 100, 200])"
    project.write(helper="def shape(number): return number + 1")
    assert project.run() == "(4, [1, 2, 3])"


def test_what_a_helper_imports_travels_too(project: Project) -> None:
    project.write(
        main=MAIN,
        helper="""
            import constants
            def shape(number):
                import late
                return late.twice(number) + constants.BASE
        """,
        constants="BASE = 1000",
        late="def twice(number): return 2 * number",
    )
    assert project.run() == "(1006, [1000, 1002, 1004])"
    project.write(constants="BASE = 5")
    assert project.run() == "(11, [5, 7, 9])"
    project.write(late="def twice(number): return -number")
    assert project.run() == "(2, [5, 4, 3])"


def test_a_package_with_relative_imports(project: Project) -> None:
    project.write(
        app__init="from .steps import run",
        app__steps="""
            from armoflow import Client, task
            from . import tools
            from .deeper.leaf import LEAF

            @task
            def work(number):
                from .deeper import leaf
                return tools.shape(number) + LEAF + leaf.other()

            def run():
                with Client() as client:
                    print(client.compute(work.map(range(3))))
        """,
        app__tools="from .deeper.leaf import LEAF\ndef shape(number): return number * LEAF",
        app__deeper__init="",
        app__deeper__leaf="LEAF = 10\ndef other(): return 500",
        app__main="from . import run\nrun()",
    )
    (project.directory / "app" / "main.py").rename(project.directory / "app" / "__main__.py")
    assert project.run("-m", "app") == "[510, 520, 530]"
    project.write(app__deeper__leaf="LEAF = 1\ndef other(): return 0")
    assert project.run("-m", "app") == "[1, 2, 3]"
    project.write(main="from app import run\nrun()")
    assert project.run() == "[1, 2, 3]"
    assert project.run(str(project.directory / "main.py"), cwd=project.directory.parent) == (
        "[1, 2, 3]"
    )


def test_classes_of_the_users_come_back_as_the_same_class(project: Project) -> None:
    project.write(
        main="""
            import dataclasses
            import enum
            from armoflow import Client, task
            from shapes import Area, Color, Point, Unfit

            @dataclasses.dataclass
            class Here:
                point: Point

            @task
            def move(point, by):
                assert type(point) is Point
                return Point(point.x + by, point.y), Color.RED, Area(3), Here(point)

            @task
            def fail():
                raise Unfit(7, why="small")

            @task
            def fail_here():
                class_of_main = Problem("here")
                raise class_of_main

            class Problem(Exception):
                pass

            if __name__ == "__main__":
                with Client() as client:
                    point, color, area, here = client.compute(move(Point(1, 2), 10))
                    assert type(point) is Point and point == Point(11, 2)
                    assert color is Color.RED
                    assert isinstance(area, Area) and area.sides == 3
                    assert type(here) is Here and here.point == Point(1, 2)
                    try:
                        client.compute(fail())
                    except Unfit as error:
                        assert (error.code, error.why) == (7, "small")
                        assert "main.py" in error.__cause__.traceback
                        assert 'raise Unfit(7, why="small")' in error.__cause__.traceback
                    try:
                        client.compute(fail_here())
                    except Problem as error:
                        print("ok", error)
        """,
        shapes="""
            import dataclasses
            import enum
            from typing import NamedTuple

            @dataclasses.dataclass
            class Point:
                x: int
                y: int

            class Color(enum.Enum):
                RED = 1

            class Area(NamedTuple):
                sides: int

            class Unfit(Exception):
                def __init__(self, code, *, why):
                    super().__init__(code)
                    self.code, self.why = code, why
        """,
    )
    assert project.run() == "ok here"


def test_tasks_of_other_files(project: Project) -> None:
    project.write(
        main="""
            from armoflow import Client
            from tasks import pipeline

            if __name__ == "__main__":
                with Client() as client:
                    print(client.compute(pipeline(5)))
        """,
        tasks="""
            from armoflow import task
            from numbers_of_mine import base

            @task
            def leaf(number):
                return base() + number

            @task
            def pipeline(count):
                return total([leaf(number) for number in range(count)])

            @task
            def total(numbers):
                return sum(numbers)
        """,
        numbers_of_mine="def base(): return 100",
    )
    assert project.run() == "510"
    project.write(numbers_of_mine="def base(): return 0")
    assert project.run() == "10"


def test_a_module_with_data_beside_it_and_state(project: Project) -> None:
    project.write(
        main=MAIN,
        helper="""
            import functools
            import pathlib

            calls = []

            @functools.lru_cache
            def shape(number):
                calls.append(number)
                return (number, pathlib.Path(__file__).name)
        """,
    )
    assert project.run() == (
        "((3, 'helper.py'), [(0, 'helper.py'), (1, 'helper.py'), (2, 'helper.py')])"
    )


def test_a_module_that_cannot_be_imported_there(project: Project) -> None:
    project.write(
        main="""
            import os
            from armoflow import Client, task
            os.environ["ONLY_HERE"] = "1"
            import fussy

            @task
            def work():
                return fussy.answer()

            if __name__ == "__main__":
                with Client() as client:
                    try:
                        client.compute(work())
                    except Exception as error:
                        print(type(error).__name__, error)
        """,
        fussy="""
            import os
            if "ONLY_HERE" not in os.environ:
                raise RuntimeError("not on this machine")
            def answer(): return 42
        """,
    )
    assert project.run() == "RuntimeError not on this machine"


def test_two_projects_with_the_same_names_share_an_engine(tmp_path: Path, engine: Up) -> None:
    outputs = []
    for name in ("first", "second", "first"):
        (tmp_path / name).mkdir(exist_ok=True)
        project = Project(tmp_path / name, engine)
        project.write(main=MAIN, helper=f"def shape(number): return {name!r}")
        outputs.append(project.run())
    assert outputs[0] == "('first', ['first', 'first', 'first'])"
    assert outputs[1] == "('second', ['second', 'second', 'second'])"
    assert outputs[2] == outputs[0]


def test_a_private_engine_needs_no_configuration(project: Project) -> None:
    project.write(main=MAIN, helper="def shape(number): return number + 1")
    project._endpoint = ""
    assert project.run() == "(4, [1, 2, 3])"
