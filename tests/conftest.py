"""Settings for every test: hypothesis draws the same examples each time in CI."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

# Shared machines are slow at times; a slow example is no failure.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# A shell that runs the tests in the background lets them ignore Ctrl-C, and every process they start too.
signal.signal(signal.SIGINT, signal.default_int_handler)
