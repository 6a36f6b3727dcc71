"""Three agents for all tests that leave them alive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runtimes.local import LocalAgents

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@pytest.fixture(scope="session")
def addresses() -> Iterator[Mapping[str, str]]:
    with LocalAgents(["camera", "box", "cloud"]) as agents:
        yield agents.addresses
