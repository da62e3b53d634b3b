"""How much a cache may have, as it is written in scripts and variables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from armoflow import config
from armoflow.errors import OptionError

LIMIT_VARIABLE = "ARMOFLOW_CACHE_LIMIT"
"""Says it for scripts that say nothing."""

NO_LIMIT = "none"

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?))?b?", re.IGNORECASE)


def find_cache_limit(value: object, environment: Mapping[str, str] = os.environ) -> int | None:
    """The bytes that an argument or the variable allows; None: any number.

    Raises:
        OptionError: If it is no size.

    Example:
        >>> find_cache_limit("1.5GiB"), find_cache_limit(10_000), find_cache_limit("none")
        (1610612736, 10000, None)
        >>> find_cache_limit(None, {"ARMOFLOW_CACHE_LIMIT": "20 GB"})
        20000000000
    """
    name = "cache_limit"
    if value is None:
        value = environment.get(LIMIT_VARIABLE) or config.CACHE_LIMIT
        name = f"the variable {LIMIT_VARIABLE}"
    if value == NO_LIMIT:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise OptionError(
            f"{name} must be a number of bytes, text such as '20GB' or '512MiB', or 'none', not "
            f"{value!r}"
        )
    number, unit, binary = found.groups()
    power = "kmgt".index(unit.lower()) + 1 if unit else 0
    return int(float(number) * (1024 if binary else 1000) ** power)
