"""dask's own tests of its collections pass with armoflow as the scheduler, but for those listed.

``make interop`` runs all of them.
"""

from __future__ import annotations

import pytest

from tests.interop.theirs import FULL, run_theirs

SUITES = {
    "delayed": ["dask.tests.test_delayed"],
    # Many of groupby choose a scheduler of dask's.
    "bag": ["dask.bag.tests.test_bag", "-k", "not groupby"],
    "array": ["dask.array.tests.test_array_core", "-k", "block or slic or store or reduc or from"],
}

FULL_SUITES = {
    "delayed": ["dask.tests.test_delayed"],
    "bag": ["dask.bag"],
    "array": ["dask.array", "-m", "not array_expr"],
    "array expressions": ["dask.array", "-m", "array_expr or normal_and_array_expr"],
}

VARIABLES = {"array expressions": {"DASK_ARRAY__QUERY_PLANNING": "True"}}
"""dask has arrays of a second kind, which are asked for when it is imported."""


@pytest.mark.parametrize("suite", FULL_SUITES if FULL else SUITES)
@pytest.mark.timeout(3600 if FULL else 120)
def test_dasks_tests_pass(suite: str) -> None:
    chosen = (FULL_SUITES if FULL else SUITES)[suite]
    run_theirs("dask_on_armoflow", *chosen, **VARIABLES.get(suite, {}))
