"""The environment that workers get: chosen, not whatever the engine happens to have.

A private engine belongs to the script that started it, and its workers find the script's own
environment. One that stays (``armoflow up``) runs the code of many clients: its workers get what
programs need to run (``LISTED``) and what its administrator names with ``--env``, so that no
credential of the engine's own environment is there for every task to read.

``hash()`` of a text is the same in all workers: ``PYTHONHASHSEED`` is ``HASH_SEED``, unless it is
set where they are started. (A client's own process has a random one, as Python gives it.)
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Final

from armoflow.errors import OptionError
from armoflow.protocol.grpc_setup import GRPC_SETTINGS

LISTED: Final = frozenset(
    {
        # who and where
        *("HOME", "USER", "LOGNAME", "SHELL", "PATH", "PWD", "TZ", "LANG", "LANGUAGE"),
        *("TMPDIR", "TEMP", "TMP", "VIRTUAL_ENV", "ARMOFLOW_ENVIRONMENTS"),
        # what is loaded
        *("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"),
        # which certificates are trusted
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        # which devices are seen
        *("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"),
    }
)
"""Names that workers of an engine that stays get."""

LISTED_PREFIXES: Final = (
    *("LC_", "PYTHON", "CONDA", "XDG_", "MALLOC_", "CUDA_", "NVIDIA_"),
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "BLIS_", "VECLIB_", "NUMEXPR_", "NUMBA_"),
)
"""Beginnings of further ones."""

HASH_SEED: Final = "0"
"""Python's seed of ``hash()`` in workers that were given none."""

_THREADS: Final = (
    "OMP_NUM_THREADS",  # OpenMP; OpenBLAS, MKL, BLIS and numexpr, unless their own are set
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "LOKY_MAX_CPU_COUNT",
    "PYTHON_CPU_COUNT",  # os.cpu_count(), from Python 3.13 on
)
"""How many threads libraries start, which take a machine's processors for their own."""

_OWN_PREFIX: Final = "ComputePlane__"
"""What an agent sets for the worker that it starts."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def worker_environment(
    source: Mapping[str, str] | None = None,
    *,
    listed: bool = False,
    named: Iterable[str] = (),
    granted: int | None = None,
) -> dict[str, str]:
    """All the variables that the processes of a worker begin with.

    Args:
        source: Where they come from; None: this process's own environment.
        listed: Take those only that are listed above.
        named: More of them: ``NAME``, which must be set in the source, or ``NAME=VALUE``.
        granted: Processors that may be used, if these are fewer than can be seen.

    Raises:
        OptionError: If a named one is malformed, not set, given twice, or armoflow's own.

    Example:
        >>> source = {"HOME": "/root", "LC_ALL": "C", "TOKEN": "secret", "REGION": "eu"}
        >>> worker_environment(source, listed=True, named=["REGION", "MODE=test"])
        {'HOME': '/root', 'LC_ALL': 'C', 'PYTHONHASHSEED': '0', 'REGION': 'eu', 'MODE': 'test'}
    """
    source = os.environ if source is None else source
    environment = {
        name: value
        for name, value in source.items()
        if not _is_own(name, value) and (not listed or _is_listed(name))
    }
    environment.setdefault("PYTHONHASHSEED", HASH_SEED)
    environment.update(_named(source, named))
    if granted is not None:
        for name in _THREADS:
            environment.setdefault(name, str(granted))
    return environment


def _is_listed(name: str) -> bool:
    return name in LISTED or name.startswith(LISTED_PREFIXES)


def _is_own(name: str, value: str) -> bool:
    """Whether armoflow has set it for a process of its own."""
    return name.startswith(_OWN_PREFIX) or GRPC_SETTINGS.get(name) == value


def _named(source: Mapping[str, str], texts: Iterable[str]) -> dict[str, str]:
    chosen: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not _NAME.fullmatch(name) or "\0" in value:
            raise OptionError(
                f"--env {text!r} names no variable: write NAME, or NAME=VALUE, with a name of "
                "letters, digits and underscores"
            )
        if name in chosen:
            raise OptionError(f"--env {name} is given twice: give it once")
        if name.startswith(_OWN_PREFIX):
            raise OptionError(f"--env {name} is set by armoflow for each worker: leave it out")
        if not separator and name not in source:
            raise OptionError(f"--env {name} is not set here: set it, or write --env {name}=VALUE")
        chosen[name] = value if separator else source[name]
    return chosen
