"""Which installed packages pickles name, and where those differ between client and workers.

What is installed travels by name: an instance of a class of pandas is read with the pandas that is
where it is read. A payload tells the packages that the pickles of its session name so far, in the
versions of where they were written; a worker whose own differ tells so with each value and error.
"""

from __future__ import annotations

import functools
import logging
import platform
import re
import sys
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from types import ModuleType
from typing import Any, NamedTuple

from armoflow.codec.bare import attribute, is_a
from armoflow.codec.compatibility import first_parts, own_versions, packages_in, with_packages
from armoflow.codec.modules import NEEDED, is_user_module
from armoflow.codec.traces import message_of
from armoflow.system.packages import package_of, version_of

logger = logging.getLogger(__name__)

_PARTS = 2
"""Versions that agree in so many numbers mostly read each other's pickles: 2.1.0 and 2.1.3."""

_SHOWN = 5  # packages that one text names
_KNOWN = 256


class NamedPackages:
    """The packages that one side's pickles name.

    Attributes:
        versions: They, as payloads carry them.

    Example:
        >>> named = NamedPackages()
        >>> named.add({"json", "hypothesis"})
        >>> [name for name, _ in packages_in(named.versions)]
        ['hypothesis']
    """

    def __init__(self) -> None:
        self.versions = own_versions()
        self._seen: set[str] = set(NEEDED)
        self._own: dict[str, str] = {}
        self._inherited = own_versions()

    def holds(self, modules: AbstractSet[str]) -> bool:
        """Whether all of these were added before."""
        return self._seen >= modules

    def add(self, modules: AbstractSet[str]) -> None:
        """Pickles name something of these modules, given by their top-level names."""
        for top in sorted(modules - self._seen):
            self._seen.add(top)
            name, _, version = package_of(top).partition(" ")
            if version and " " not in version and not is_user_module(top):
                self._own[name] = version if _plain(name) == _plain(top) else f"{version}@{top}"
        self._write()

    def inherit(self, versions: str) -> None:
        """In a worker: what comes with its task names these, in the versions of its client."""
        if versions != self._inherited:
            self._inherited = versions
            self._write()

    def _write(self) -> None:
        packages = {**self._own, **dict(packages_in(self._inherited))}
        self.versions = with_packages(sorted(packages.items()))


class OtherVersion(NamedTuple):
    """A package of which another version is here than on the other side.

    Attributes:
        name: The package.
        here: Its version here; empty: it is not installed.
        there: Its version there.
        module: What it is imported by.
    """

    name: str
    here: str
    there: str
    module: str

    @property
    def matters(self) -> bool:
        """Whether the one version may well not read what the other has pickled."""
        return bool(self.here) and first_parts(self.here, _PARTS) != first_parts(self.there, _PARTS)


@functools.lru_cache(_KNOWN)
def other_versions(versions: str) -> tuple[OtherVersion, ...]:
    """The packages behind versions of which this process has another version, or none.

    Example:
        >>> [other] = other_versions("3.11.7 3.1.0 0.1.0 cloudpickle==0.1")
        >>> other.name, other.there, other.matters
        ('cloudpickle', '0.1', True)
    """
    told = (_compared(name, version) for name, version in packages_in(versions))
    return tuple(found for found in told if found.here != found.there)


def _compared(name: str, told: str) -> OtherVersion:
    there, _, module = told.partition("@")
    return OtherVersion(name, version_of(name), there, module or name.replace("-", "_"))


@functools.lru_cache(_KNOWN)
def told_by_worker(versions: str, requirements: tuple[str, ...] = ()) -> str:
    """What a worker tells its client of its packages; nothing, where they are much the same.

    Args:
        versions: What its task comes from.
        requirements: What the task asks for: that it has on purpose.

    Example:
        >>> told_by_worker("3.11.7 3.1.0 0.1.0 cloudpickle==0.1").partition("==")[0]
        'cloudpickle'
        >>> told_by_worker("3.11.7 3.1.0 0.1.0 cloudpickle==0.1", ("cloudpickle>=1",))
        ''
    """
    found = [one for one in other_versions(versions) if one.matters]
    if found and requirements:
        asked = set(map(required_package, requirements))
        found = [one for one in found if _plain(one.name) not in asked]
    return " ".join(f"{one.name}=={one.here}" for one in found[:_SHOWN])


def heed(told: str) -> None:
    """At the client: warn of what a worker tells, once of each package and version."""
    for other in other_versions(told):
        _warn(other)


@functools.lru_cache(_KNOWN)
def _warn(other: OtherVersion) -> None:
    if other.matters:
        name, here, there, _ = other
        logger.warning(
            "tasks run with %s %s, and here it is %s: values that are pickled with one may not be "
            "read with the other, or mean something else; install %s where workers run, or ask "
            "for it with requirements=['%s==%s']",
            *(name, there, here, here, name, here),
        )


def why_unreadable(versions: str, error: BaseException, *, worker: bool = True) -> str:
    """What differing packages have to do with something that cannot be loaded; maybe nothing.

    Args:
        versions: Those of the other side.
        error: Why it cannot be loaded.
        worker: It is read by a worker; else by a client.

    Example:
        >>> why_unreadable("3.11.7 3.1.0 0.1.0 tiny==2.0", ModuleNotFoundError("No module 'tiny'"))
        "tiny is not on this worker (Python ...), and 2.0 at the client: install 2.0 where workers \
run, or ask for it with requirements=['tiny==2.0']"
    """
    absent = worker and is_a(error, ModuleNotFoundError)
    others = [one for one in other_versions(versions) if one.here or absent]
    return _explained(_named_in(message_of(error), others) or others, worker=worker)


def why_not_imported(versions: str, error: BaseException) -> str:
    """What a worker says of code that found a module, or a name in one, missing; maybe nothing.

    Args:
        versions: Those of the client.
        error: What the code raised.

    Example:
        >>> error = ModuleNotFoundError("No module named 'tiny.x'", name="tiny.x")
        >>> why_not_imported("3.11.7 3.1.0 0.1.0 tiny==2.0", error)
        "tiny is not on this worker (Python ...), and 2.0 at the client: ..."
        >>> why_not_imported("3.11.7 3.1.0 0.1.0", error)
        "'tiny' is not on this worker (Python ...): install it where workers run, or ask for it \
with requirements=[...]; a module of your own goes along where the task's code, or a module that \
does, imports it by name"
        >>> why_not_imported("3.11.7 3.1.0 0.1.0", KeyError("tiny"))
        ''
    """
    module = _module_missed(error)
    if not module or module in sys.builtin_module_names:
        return ""
    package = package_of(module).partition(" ")[0]
    others = other_versions(versions)
    if package:
        return _explained([one for one in others if one.name == package])
    if not is_a(error, ModuleNotFoundError) or module in sys.modules:
        return ""  # a module of the user's own, or of Python
    if module in sys.stdlib_module_names:
        return (
            f"{_this_python()}, which runs this worker, has no {module!r}: it is a part of others"
        )
    return _explained([one for one in others if one.module == module]) or (
        f"{module!r} is not on this worker ({_this_python()}): install it where workers run, or "
        "ask for it with requirements=[...]; a module of your own goes along where the task's "
        "code, or a module that does, imports it by name"
    )


def _module_missed(error: BaseException) -> str:
    """The top-level name of the module that was missed, or that lacks a name; else nothing."""
    name: Any = None
    if is_a(error, ImportError):
        name = attribute(error, "name")
    elif is_a(error, AttributeError):
        place = attribute(error, "obj")
        name = place.__name__ if is_a(place, ModuleType) else None
    return name.partition(".")[0] if type(name) is str else ""


def _named_in(text: str, packages: Sequence[OtherVersion]) -> list[OtherVersion]:
    words = set(re.findall(r"\w+", text))
    return [one for one in packages if one.module in words]


def _explained(found: Sequence[OtherVersion], *, worker: bool = True) -> str:
    """Which versions are where, and what to do; nothing of no packages."""
    if not found:
        return ""
    here, there = ("on this worker", "at the client") if worker else ("here", "on the worker")
    told = [
        f"{one.name} is {one.here} {here}, and {one.there} {there}"
        if one.here
        else f"{one.name} is not {here} ({_this_python()}), and {one.there} {there}"
        for one in found[:_SHOWN]
    ]
    wanted = [(one.name, one.there if worker else one.here) for one in found[:_SHOWN]]
    asked = ", ".join(repr(f"{name}=={version}") for name, version in wanted)
    install = ", ".join(version if len(found) == 1 else f"{n} {version}" for n, version in wanted)
    remedy = f"install {install} where workers run, or ask for it with requirements=[{asked}]"
    return f"{'; '.join(told)}: {remedy}"


def _this_python() -> str:
    return f"Python {platform.python_version()} in {sys.prefix}"


def required_package(requirement: str) -> str:
    """The package that a requirement is of, as far as it says so.

    Example:
        >>> required_package("Some.Package[x]>=1"), required_package("file:///a/tiny-1.0-any.whl")
        ('some-package', 'tiny')
    """
    text = requirement.rpartition("/")[2] if "://" in requirement.partition("@")[0] else requirement
    end = "-" if text is not requirement else "[<>=!~; @"
    return _plain(re.split(f"[{re.escape(end)}]", text.strip(), maxsplit=1)[0])


def _plain(name: str) -> str:
    """A package's name as all who mean it write it."""
    return re.sub(r"[-_.]+", "-", name).lower()
