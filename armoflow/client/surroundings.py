"""What tasks in the caller's own process find around them: their environment variables."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Mapping, Sequence

from armoflow.errors import RequirementsError


class Surrounded:
    """Variables that hold for a call in this process.

    Args:
        env: The variables; put back afterwards.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._before: dict[str, str | None] = {}

    def __enter__(self) -> None:
        self._before = {name: os.environ.get(name) for name in self._env}
        os.environ.update(self._env)

    def __exit__(self, *ended: object) -> None:
        for name, earlier in self._before.items():
            if earlier is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = earlier


def check_installed(requirements: Sequence[str]) -> None:
    """See that this process, which installs nothing, has what a task requires.

    Args:
        requirements: What has to be installed here.

    Raises:
        RequirementsError: Names what is not.

    Example:
        >>> check_installed(["cloudpickle>=1"])
    """
    for text in requirements:
        _check(text)


def _check(text: str) -> None:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
    except InvalidRequirement:  # a URL: which package that is shows when it is imported
        return
    if requirement.marker is not None and not requirement.marker.evaluate():
        return
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        there = "is not installed here"
    else:
        if requirement.specifier.contains(version, prereleases=True):
            return
        there = f"is {version} here"
    raise RequirementsError(
        f"{requirement.name} {there}, and {text!r} is required: local=True runs tasks in the "
        f"caller's own process, and installs nothing: pip install {text!r}, or leave out local"
    )
