"""Agents of three devices for the tests of deployments, and a plan for them with a branch and a join."""

from __future__ import annotations

import pytest

from runtimes.local import LocalAgents
from tests.runtimes.plans import BRANCHING, plan


@pytest.fixture(scope="package")
def addresses():
    with LocalAgents(["camera", "box", "cloud"]) as agents:
        yield agents.addresses


@pytest.fixture
def deployment():
    """Return a function that makes the plan under an epoch."""

    def make(epoch: int = 1, sink: str = "camera"):
        return plan(BRANCHING, outputs=("y",), source="camera", sink=sink, epoch=epoch)

    return make
