"""How much a cache may have, as it is written in scripts and variables."""

from __future__ import annotations

import os
from collections.abc import Mapping

from armoflow import config
from armoflow.byte_sizes import read_size

LIMIT_VARIABLE = "ARMOFLOW_CACHE_LIMIT"
"""Says it for scripts that say nothing."""

NO_LIMIT = "none"


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
    if isinstance(value, str) and value == NO_LIMIT:
        return None
    return read_size(name, value, other=", or 'none'")
