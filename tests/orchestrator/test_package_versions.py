from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from armoflow.codec.compatibility import own_versions, packages_in
from armoflow.orchestrator.codebook import CodeBook
from armoflow.orchestrator.package_versions import (
    NamedPackages,
    told_by_worker,
    why_not_imported,
    why_unreadable,
)
from armoflow.system.packages import forget_versions, version_of

CLOUDPICKLE = version_of("cloudpickle")


def test_code_without_packages_says_nothing_of_them() -> None:
    book = CodeBook()
    book.function(len)
    assert book.versions == own_versions()


def test_what_functions_and_values_name_is_told_with_its_version() -> None:
    book = CodeBook()
    book.function(lambda: pytest.approx(1))
    book.add_packages({"numpy", "json", "builtins", "armoflow", "cloudpickle", "no_such_module"})
    assert packages_in(book.versions) == [
        ("numpy", version_of("numpy")),
        ("pytest", version_of("pytest")),
    ]


def test_children_are_of_their_parents_versions_and_of_no_other_clients() -> None:
    named = NamedPackages()
    named.inherit(f"{own_versions()} numpy==0.1")
    named.add({"numpy", "pytest"})
    assert dict(packages_in(named.versions))["numpy"] == "0.1"
    named.inherit(f"{own_versions()} hypothesis==0.1")
    assert dict(packages_in(named.versions))["numpy"] == version_of("numpy")


@pytest.mark.parametrize("requirement", ["CloudPickle>=1", "file:///a/cloudpickle-9-any.whl"])
def test_what_a_task_asks_for_is_no_surprise(requirement: str) -> None:
    theirs = f"{own_versions()} cloudpickle==0.1 no-such-package==1"
    assert told_by_worker(theirs) == f"cloudpickle=={CLOUDPICKLE}"
    assert told_by_worker(theirs, (requirement,)) == ""


def test_what_cannot_be_read_names_the_package_that_it_is_about() -> None:
    theirs = f"{own_versions()} cloudpickle==0.1 msgpack==0.2 no-such-package==1"
    assert why_unreadable(theirs, AttributeError("no 'x' in module 'msgpack'")) == (
        f"msgpack is {version_of('msgpack')} on this worker, and 0.2 at the client: install 0.2 "
        "where workers run, or ask for it with requirements=['msgpack==0.2']"
    )
    both = why_unreadable(theirs, AttributeError("y"))
    assert "cloudpickle is" in both and "msgpack is" in both and "no-such" not in both
    gone = why_unreadable(theirs, ModuleNotFoundError("No module named 'no_such_package'"))
    assert gone.startswith("no-such-package is not on this worker (Python ")
    assert "), and 1 at the client: install 1 where workers run" in gone


def test_a_package_is_found_by_the_name_that_it_is_imported_by() -> None:
    theirs = f"{own_versions()} No-Such==1@nosuch cloudpickle==0.1"
    error = ModuleNotFoundError("No module named 'nosuch.x'", name="nosuch.x")
    for told in (why_not_imported(theirs, error), why_unreadable(theirs, error)):
        assert told.startswith("No-Such is not on this worker (Python ")
        assert told.endswith("requirements=['No-Such==1']")


def test_a_missing_part_of_python_is_not_to_be_installed() -> None:
    error = ModuleNotFoundError("No module named 'winreg'", name="winreg")
    assert why_not_imported(own_versions(), error).endswith(
        "has no 'winreg': it is a part of others"
    )
    assert why_unreadable(own_versions(), AttributeError("y")) == ""


def test_versions_are_those_that_the_installed_packages_tell_of_themselves() -> None:
    installed: dict[str, str] = {}
    for found in metadata.distributions():  # the first of a name is what is imported
        installed.setdefault(found.metadata["Name"], found.version)
    assert installed
    assert {name: version_of(name) for name in installed} == installed


def test_a_package_is_found_whatever_its_name_is_written_like_and_once_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert version_of("their.own-package") == ""
    (tmp_path / "Their_Own_Package-2.5.dist-info").mkdir()
    forget_versions()
    assert version_of("their.own-package") == "2.5"
