"""Settings for the whole test-suite."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Nothing here is timed: on a busy machine an example may be slow without being wrong.
settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
