"""Settings for every test: hypothesis draws the same examples each time in CI."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

# Shared machines are slow at times; a slow example is no failure.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# A shell that runs the tests in the background lets them ignore Ctrl-C, and every process they start too.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Tables are as wide as in a pipe, whatever the terminal or the runner of the tests says.
os.environ.pop("COLUMNS", None)


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """Undo what commands run in this process set for theirs: later tests and their agents would inherit it."""
    before = dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)
