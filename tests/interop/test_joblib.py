"""joblib's own tests of backends of processes pass on armoflow's, but for those listed."""

from __future__ import annotations

from tests.interop.theirs import run_theirs


def test_joblibs_tests_of_backends_pass() -> None:
    run_theirs("joblib_on_armoflow", "joblib.test.test_parallel", "-k", "armoflow")
