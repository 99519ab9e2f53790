"""Hypothesis profiles, and the array libraries that the reference must run on.

D2LREF_PROFILE chooses: dev (seconds), ci (minutes), deep (hours; failures found are kept in .hypothesis and tried
first). `core` is for environments that repeat what ci shows elsewhere, to see what another Python or NumPy does to it.
"""

import os

from hypothesis import HealthCheck, settings

COMMON = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

settings.register_profile("dev", COMMON, max_examples=5)
settings.register_profile("ci", COMMON, max_examples=10, derandomize=True)
settings.register_profile("core", COMMON, max_examples=3, derandomize=True)
settings.register_profile("deep", COMMON, max_examples=5000)
settings.load_profile(os.environ.get("D2LREF_PROFILE", "dev"))
