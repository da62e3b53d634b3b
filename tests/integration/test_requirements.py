"""``requirements``: what a task needs is installed beside what its worker has; no other sees it.

On the embedded engine, one like a stock cluster, and one whose workers share nothing with us.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import armoflow
from armoflow import Client, items, task
from armoflow.errors import OptionError, RequirementsError
from tests.integration.apart import Apart
from tests.integration.engines import Up
from tests.integration.wheels import make_wheel

NAME = "armoflow_tested"


@task
def look(number: int = 0) -> tuple[str, str, int]:
    """What is there: the package's version, and the environment."""
    try:
        from armoflow_tested import __version__ as version  # type: ignore[import-not-found]
    except ImportError:
        version = "none"
    return version, sys.prefix, number


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """URLs of two versions of a package that nobody has."""
    directory = tmp_path_factory.mktemp("wheels")
    return {
        version: make_wheel(directory, NAME, version, "def double(x): return 2 * x").as_uri()
        for version in ("1.0", "2.0")
    }


def versions(found: list[tuple[str, str, int]]) -> list[str]:
    return [version for version, _, _ in found]


def test_each_task_finds_what_it_asks_for_and_nothing_else(
    client: Client, wheels: dict[str, str]
) -> None:
    calls = [
        look.options(requirements=[wheels["1.0"]])(1),
        look(2),
        look.options(requirements=[wheels["2.0"]])(3),
        look.options(requirements=[wheels["1.0"]])(4),
    ]
    found = client.compute(*calls)
    assert versions(found) == ["1.0", "none", "2.0", "1.0"]
    assert found[0][1] == found[3][1] != found[2][1]  # an environment each, made once
    assert found[1][1] == sys.prefix


def test_a_map_and_what_follows_it(client: Client, wheels: dict[str, str]) -> None:
    @task
    def told(seen: tuple[str, str, int]) -> str:
        return f"{seen[0]} {sys.prefix == seen[1]} {look.function()[0]}"

    needs = look.options(requirements=[wheels["1.0"]])
    assert client.compute(needs.map(range(20)).map(told)) == ["1.0 False none"] * 20


def test_the_nearest_place_that_says_something_holds(
    client: Client, wheels: dict[str, str]
) -> None:
    with armoflow.options(requirements=[wheels["1.0"]]):
        calls = [look(1), look.options(requirements=[])(2), look.options(retries=1)(3)]
        calls.append(look.options(requirements=[wheels["2.0"]])(4))
    assert versions(client.compute(*calls)) == ["1.0", "none", "1.0", "2.0"]


def test_a_client_says_it_for_all_and_for_the_graphs_that_tasks_return(
    engine: Up, wheels: dict[str, str]
) -> None:
    @task
    def outer() -> Any:
        return [look(1), look.options(requirements=[])(2)]

    with Client(engine.endpoint, requirements=[wheels["1.0"]]) as own:
        assert versions(own.compute(outer())) == ["1.0", "none"]


def test_a_graph_may_ask_for_another_environment_than_its_task(
    client: Client, wheels: dict[str, str]
) -> None:
    first, second = [wheels["1.0"]], [wheels["2.0"]]

    @task(requirements=first)
    def outer() -> Any:
        return [look(0), look.options(requirements=second)(1), look.options(requirements=first)(2)]

    assert versions(client.compute(outer())) == ["none", "2.0", "1.0"]


def test_what_cannot_be_had_fails_the_task_with_the_installers_last_lines(
    client: Client, tmp_path: Path
) -> None:
    missing = (tmp_path / "nobody-1.0-py3-none-any.whl").as_uri()
    bad = look.options(requirements=[missing])
    with pytest.raises(
        RequirementsError, match=r"(?s)cannot be installed on .*last lines:\n.*nobo"
    ):
        client.compute(bad(1))
    good, failed = client.compute(look(1), bad(2), return_exceptions=True)
    assert good[0] == "none" and isinstance(failed, RequirementsError)
    with pytest.raises(RequirementsError):  # no item is to blame: none is left out for it
        client.compute(bad.options(on_failure="skip").map(range(3)))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("numpy", "must be a list of texts such as 'numpy>=2', not 'numpy': write ['numpy']"),
        ([3], "must hold texts such as 'numpy>=2', not 3"),
        (3, "must be a list of texts such as 'numpy>=2', not 3"),
        (["numpy>>2"], "holds 'numpy>>2', which is no requirement"),
        (["numpy scipy"], "holds 'numpy scipy', which is no requirement"),
        (["--pre"], "must hold packages, not options such as '--pre': which index is asked"),
        (["dist/x.whl"], "holds the path 'dist/x.whl': write a URL, file:///..."),
        (["ftp://host/x.whl"], "holds 'ftp://host/x.whl': URLs begin with one of https"),
        (["x" * 9000], "has 9,000 characters, and may have 8,000"),
    ],
)
def test_what_is_no_requirement_is_refused_where_it_is_written(given: Any, told: str) -> None:
    with pytest.raises(OptionError) as refused:
        task(requirements=given)(len)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    "options", [{"on_failure": 9}, {"on_failure": "skip"}, {"retries": 2, "backoff": 3600}]
)
def test_the_debug_mode_hides_and_retries_nothing_that_is_not_installed(
    options: dict[str, Any],
) -> None:
    bad = look.options(requirements=["nobody-has-it>=2"], **options)
    with Client(local=True) as client:
        for value in (bad(1), bad.map(range(3)), items(range(3)).filter(bad)):
            with pytest.raises(RequirementsError, match="nobody-has-it is not installed here"):
                client.compute(value)
        with pytest.raises(RequirementsError):
            client.compute(bad(1), fail_fast=True)


def test_the_debug_mode_installs_nothing_and_says_so(wheels: dict[str, str]) -> None:
    with Client(local=True) as client:
        with pytest.raises(RequirementsError, match="'nobody-has-it>=2' is required: local=True"):
            client.compute(look.options(requirements=["nobody-has-it>=2"])(1))
        with pytest.raises(RequirementsError, match=r"cloudpickle is \d.* here, and 'cloudpickle<"):
            client.compute(look.options(requirements=["cloudpickle<1"])(1))
        assert client.compute(look.options(requirements=["cloudpickle>=1"])(1))[2] == 1


SCRIPT = """
from armoflow import Client, items, task

@task(requirements=["armoflow_tested>=1.5"])
def double(number):
    import armoflow_tested, os, sys
    return armoflow_tested.double(number), armoflow_tested.__version__

if __name__ == "__main__":
    with Client() as client:
        print(client.compute(double.map(range(3))))
"""


def test_one_requirement_has_one_name_however_it_is_written() -> None:
    """Two environments of the same would be made, and cached values computed twice."""
    options = look.options(requirements=["Some_Package[b,a] >= 1.0, <2"]).task_options
    assert options.requirements == ("some-package[a,b]<2,>=1.0",)
    assert look.options(requirements=["some.package[a,b]<2,>=1.0"]).task_options == options


def run(path: Path, **environment: str) -> str:
    path.write_text(SCRIPT)
    ended = subprocess.run(
        [sys.executable, str(path)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_one_script_runs_here_and_where_workers_share_nothing_with_it(
    cluster_apart: Apart, wheels: dict[str, str], tmp_path: Path
) -> None:
    told = "[(0, '2.0'), (2, '2.0'), (4, '2.0')]"
    here = str(Path(wheels["2.0"].removeprefix("file://")).parent)
    assert run(tmp_path / "script.py", UV_OFFLINE="1", UV_FIND_LINKS=here) == told
    make_wheel(cluster_apart.wheels, NAME, "2.0", "def double(x): return 2 * x")
    assert run(tmp_path / "script.py", ARMOFLOW_ENDPOINT=cluster_apart.endpoint) == told


def test_workers_apart_see_nothing_of_the_client(cluster_apart: Apart) -> None:
    @task
    def seen(paths: list[str]) -> tuple[list[bool], str, list[str]]:
        networks = Path("/proc/net/dev").read_text().splitlines()[2:]
        return (
            [Path(path).exists() for path in paths],
            sys.prefix,
            [line.partition(":")[0].strip() for line in networks],
        )

    with Client(cluster_apart.endpoint) as client:
        there, prefix, networks = client.compute(seen([__file__, sys.prefix, armoflow.__file__]))
    assert not any(there)
    assert prefix == str(cluster_apart.home)
    assert networks == ["lo"]


def test_what_is_built_anew_is_installed_anew_while_the_engine_runs(
    client: Client, tmp_path: Path
) -> None:
    needs = look.options(requirements=[make_wheel(tmp_path, NAME, "1.0").as_uri()])
    first = client.compute(needs(1))
    make_wheel(tmp_path, NAME, "1.0", "__version__ = '1.0 again'")
    again = client.compute(needs(1))
    assert versions([first, again]) == ["1.0", "1.0 again"]
