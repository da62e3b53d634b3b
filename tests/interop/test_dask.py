"""dask's own tests of its collections pass with armoflow as the scheduler, but for those listed.

``make interop`` runs all of them; else it is a part.
"""

from __future__ import annotations

import pytest

from tests.interop.theirs import FULL, run_theirs

SUITES = {
    # In one process: to import dask takes longer than most of them. Those left out start processes.
    "a part": [
        *("dask.tests.test_delayed", "dask.bag.tests.test_bag", "dask.array.tests.test_array_core"),
        *("-k", "not groupby and not multiprocessing"),
    ],
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
