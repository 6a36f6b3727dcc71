"""The command that gives namespaces, or why there are none here."""

from __future__ import annotations

import pytest

from placer.emulation.isolation import isolating_command
from placer.errors import DeployError


@pytest.fixture(scope="session")
def isolated() -> tuple[str, ...]:
    try:
        return isolating_command()
    except DeployError as error:
        pytest.skip(str(error))
