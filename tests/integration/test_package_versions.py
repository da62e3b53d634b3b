"""Packages of which client and workers have different versions: found, and told with both.

On the embedded engine and on one like a stock cluster, each with a package of an earlier version
than the client has.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, task
from armoflow.errors import SerializationError
from tests.integration.engines import EMBEDDED, STOCK, Up
from tests.integration.wheels import make_wheel

BOTH = """
class Point:
    def __init__(self, x):
        self.x = x

def shifted(point):
    return Point(point.x + 1)
"""
EARLIER = f"{BOTH}\nclass Gone(Point): pass\ndef removed(): return Gone(7)\n"
LATER = f"{BOTH}\nclass Added(Point): pass\ndef twice(x): return 2 * x\n"


def install(directory: Path, name: str, version: str, text: str) -> Path:
    """A package as it is installed; returns its ``site-packages``."""
    site = directory / "site-packages"
    with zipfile.ZipFile(make_wheel(directory, name, version, text)) as wheel:
        wheel.extractall(site)
    return site


SUFFIXES = ("", "_told", "_failing", "_patched", "_missing", "_required")


class Place:
    """An engine, a client of it, and packages that both have, the client in other versions.

    Attributes:
        client: The client.
        package: Of another minor version at the client.
        told, failing: Others of the kind.
        patched: Of another patch release.
        missing: Only at the client.
        required: Only at the client, too; there is a wheel of an earlier version.
        wheel: Its URL.
    """

    def __init__(self, client: Client, name: str, wheel: Path) -> None:
        self.client = client
        self.wheel = wheel.as_uri()
        modules = (importlib.import_module(name + suffix) for suffix in SUFFIXES)
        self.package, self.told, self.failing, self.patched, self.missing, self.required = modules


@pytest.fixture(scope="module", params=["embedded", "stock"])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    name, directory = f"tiny_{request.param}", tmp_path_factory.mktemp(request.param)
    here, there = directory / "here", directory / "there"
    for suffix, version in zip(
        SUFFIXES, ("2.1.0", "2.1.0", "2.1.0", "1.0.3", "3.0", "2.1.0"), strict=True
    ):
        site = install(here, name + suffix, version, LATER)
    for suffix, version in zip(SUFFIXES, ("1.4.2", "1.4.2", "1.4.2", "1.0.1"), strict=False):
        path = install(there, name + suffix, version, EARLIER)
    engine = Up(
        directory,
        *(EMBEDDED if request.param == "embedded" else STOCK),
        environment={**os.environ, "PYTHONPATH": str(path)},
    )
    sys.path.insert(0, str(site))
    try:
        with Client(engine.endpoint, workers=2) as client:
            yield Place(client, name, make_wheel(there, f"{name}_required", "1.4.2", EARLIER))
    finally:
        sys.path.remove(str(site))
        for suffix in SUFFIXES:
            sys.modules.pop(name + suffix, None)
        engine.stop()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    name = "armoflow.orchestrator.package_versions"
    return [record.getMessage() for record in caplog.records if record.name == name]


def x_of(point: Any) -> int:
    return int(point.x)


def test_other_versions_of_an_arguments_package_are_told_once(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    package, client = place.told, place.client
    name = package.__name__
    read, shifted = task(x_of), task(package.shifted)
    with caplog.at_level(logging.WARNING):
        assert client.compute(read(package.Point(3))) == 3
        assert client.submit(read(package.Point(4))).result() == 4
        points = [package.Point(number) for number in range(10)]
        assert client.compute(read.map(points)) == list(range(10))
        assert client.compute(shifted(client.put(package.Point(1)))).x == 2
        assert client.compute(task(lambda: read(shifted(package.Point(5))))()) == 6
    assert [text for text in warnings(caplog) if name in text] == [
        f"tasks run with {name} 1.4.2, and here it is 2.1.0: values that are pickled with one may "
        "not be read with the other, or mean something else; install 2.1.0 where workers run, or "
        f"ask for it with requirements=['{name}==2.1.0']"
    ]


def test_another_patch_release_is_not_worth_a_word(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert place.client.compute(task(x_of)(place.patched.Point(3))) == 3
    assert [text for text in warnings(caplog) if place.patched.__name__ in text] == []


def test_a_failure_tells_of_them_too(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    @task
    def fail(point: Any) -> int:
        raise ValueError(point.x)

    with caplog.at_level(logging.WARNING), pytest.raises(ValueError, match="3"):
        place.client.compute(fail(place.failing.Point(3)))
    assert [text for text in warnings(caplog) if place.failing.__name__ in text] != []


def remedy(name: str, version: str) -> str:
    return (
        f"install {version} where workers run, or ask for it with "
        f"requirements=['{name}=={version}']"
    )


def test_an_argument_of_a_class_that_the_workers_version_has_not(place: Place) -> None:
    package = place.package
    name = package.__name__
    with pytest.raises(SerializationError) as raised:
        place.client.compute(task(x_of)(package.Added(3)))
    text = str(raised.value)
    assert text.startswith(f"an argument of task 'x_of', of {name}.Added, cannot be read back: ")
    told = f"{name} is 1.4.2 on this worker, and 2.1.0 at the client: {remedy(name, '2.1.0')}"
    assert text.endswith(told)


def test_a_function_that_the_workers_version_has_not(place: Place) -> None:
    name = place.package.__name__
    with pytest.raises(AttributeError) as raised:
        place.client.compute(task(place.package.twice)(3))
    told = f"{name} is 1.4.2 on this worker, and 2.1.0 at the client: {remedy(name, '2.1.0')}"
    assert str(raised.value).endswith(told)


def test_a_value_of_a_class_that_the_clients_version_has_not(place: Place) -> None:
    name = place.package.__name__

    @task
    def old() -> Any:
        return importlib.import_module(name).removed()

    assert place.client.compute(task(x_of)(place.package.Point(3))) == 3
    with pytest.raises(SerializationError) as raised:
        place.client.compute(old())
    text = str(raised.value)
    assert text.startswith(f"the value of task 'old', of {name}.Gone, cannot be read back: ")
    assert text.endswith(f"{name} is 2.1.0 here, and 1.4.2 on the worker: {remedy(name, '2.1.0')}")


def test_a_package_that_workers_have_not(place: Place) -> None:
    package = place.missing
    name = package.__name__
    told = f", and 3.0 at the client: {remedy(name, '3.0')}"
    with pytest.raises(SerializationError) as raised:
        place.client.compute(task(x_of)(package.Point(3)))
    assert f"No module named '{name}'" in str(raised.value) and told in str(raised.value)
    with pytest.raises(ModuleNotFoundError) as missed:
        place.client.compute(task(package.shifted)(3))
    assert told in str(missed.value)


def made(body: str) -> Callable[..., Any]:
    """A function of a script, of one argument."""
    exec(f"def made(x): {body}", script := {"__name__": "__main__"})
    function: Callable[..., Any] = script["made"]
    return function


def doors(name: str) -> dict[str, Callable[[Client], Any]]:
    """What needs a module in its body only, by each way that a task's code may run."""

    lazily = task(made(f"import {name}; return {name}.twice(x)"))

    @task
    def returned(x: int) -> Any:
        return [lazily(x), lazily(x + 1)]

    return {
        "compute": lambda client: client.compute(lazily(3)),
        "map": lambda client: client.compute(lazily.map(range(3))),
        "submit": lambda client: client.submit(lazily(4)).result(),
        "eager map": lambda client: client.map(lazily, [1])[0].result(),
        "begun where it was returned": lambda client: client.compute(returned(1)),
        "children": lambda client: client.compute(returned.options(fuse=False)(1)),
        "retried": lambda client: client.compute(lazily.options(retries=1)(5)),
    }


@pytest.mark.parametrize("door", doors("module"))
def test_a_package_that_only_the_body_imports_and_workers_have_not(place: Place, door: str) -> None:
    name = place.missing.__name__
    with pytest.raises(ModuleNotFoundError) as missed:
        doors(name)[door](place.client)
    assert missed.value.name == name
    text = str(missed.value)
    assert text.startswith(f"No module named '{name}'; {name} is not on this worker (Python ")
    assert text.endswith(f", and 3.0 at the client: {remedy(name, '3.0')}")
    assert text.count("requirements=") == 1


def test_a_name_that_the_workers_version_of_a_package_has_not(place: Place) -> None:
    name = place.package.__name__
    told = f"{name} is 1.4.2 on this worker, and 2.1.0 at the client: {remedy(name, '2.1.0')}"
    with pytest.raises(AttributeError) as lacking:
        doors(name)["compute"](place.client)
    assert str(lacking.value).endswith(f"has no attribute 'twice'; {told}")
    imports = task(made(f"from {name} import twice; return twice(x)"))
    with pytest.raises(ImportError, match="cannot import name 'twice'") as missed:
        place.client.compute(imports(3))
    assert str(missed.value).endswith(told)


def test_a_module_that_nobody_has(place: Place) -> None:
    with pytest.raises(ModuleNotFoundError) as missed:
        doors("no_such_module_at_all")["compute"](place.client)
    assert "'no_such_module_at_all' is not on this worker (Python " in str(missed.value)
    assert "requirements=[...]; a module of your own goes along where " in str(missed.value)


def test_what_a_task_requires_is_compared_and_no_surprise(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    package = place.required
    name = package.__name__
    read = task(requirements=[place.wheel])(x_of)
    with caplog.at_level(logging.WARNING):
        assert place.client.compute(read(package.Point(3))) == 3
    assert [text for text in warnings(caplog) if name in text] == []
    with pytest.raises(SerializationError) as raised:
        place.client.compute(read(package.Added(3)))
    assert f"{name} is 1.4.2 on this worker, and 2.1.0 at the client: " in str(raised.value)
