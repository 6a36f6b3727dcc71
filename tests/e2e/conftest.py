"""A desk for each test that asks for one, which has to be left as clean as it was found."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.desk import Desk

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def desk(tmp_path) -> Iterator[Desk]:
    # A name that careless quoting or encoding would trip over.
    folder = tmp_path / "site à la carte [1]"
    folder.mkdir()
    whole = Desk(folder)
    yield whole
    deadline = time.monotonic() + 5
    while whole.leftovers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert whole.leftovers() == []
