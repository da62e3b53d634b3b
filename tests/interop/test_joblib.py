"""joblib's own tests of backends of processes pass on armoflow's, but for those listed.

``make interop`` runs all of them; else it is a part.
"""

from __future__ import annotations

import pytest

from tests.interop.theirs import FULL, run_theirs

# Those that start an interpreter for each case, or wait for a time limit, are half of the time.
QUICK = "armoflow and not unpicklable and not interactively and not timeout and not deadlock"


@pytest.mark.timeout(3600 if FULL else 120)
def test_joblibs_tests_of_backends_pass() -> None:
    chosen = "armoflow" if FULL else QUICK
    run_theirs("joblib_on_armoflow", "joblib.test.test_parallel", "-k", chosen)
