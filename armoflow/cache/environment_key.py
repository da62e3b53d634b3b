"""What a key says of where code runs: little, so that a laptop and a cluster agree."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

from armoflow.errors import OptionError
from armoflow.system.packages import package_of

KEY_VERSION: Final = 2
"""Changes with the rules of the key: nothing is found that was known by others."""


def make_environment(packages: Iterable[str] = ()) -> dict[str, str]:
    """Python's minor version, the version of the keys, and those of declared packages.

    Packages that a task uses itself are part of its code's key. Those are declared here that make a
    difference without being named by it, as one that only another one uses.

    Args:
        packages: Names of modules that were installed.

    Raises:
        OptionError: If one is not installed.

    Example:
        >>> sorted(make_environment(["cloudpickle"]))
        ['cloudpickle', 'keys', 'python']
    """
    environment = {
        "python": ".".join(map(str, sys.version_info[:2])),
        "keys": str(KEY_VERSION),
    }
    for name in packages:
        found = package_of(name)
        if not found:
            raise OptionError(
                f"package {name!r} is not installed here: name what is, or install it"
            )
        environment[name] = found
    return environment
