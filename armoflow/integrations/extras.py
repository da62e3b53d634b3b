"""Packages that only an integration needs: an extra of armoflow's each."""

from __future__ import annotations

from armoflow.errors import MissingPackageError


def missing(extra: str, error: ImportError) -> MissingPackageError:
    """What to raise where a package of an extra cannot be imported.

    Args:
        extra: The extra.
        error: Why not.

    Example:
        >>> missing("dask", ImportError("No module named 'dask'", name="dask"))
        MissingPackageError("armoflow's integration of dask takes dask: pip install \
'armoflow[dask]' (No module named 'dask')")
    """
    package = error.name or extra
    return MissingPackageError(
        f"armoflow's integration of {extra} takes {package}: pip install 'armoflow[{extra}]' "
        f"({error})"
    )
