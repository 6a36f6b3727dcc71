"""A part of the one-flow search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from placer.solver.exact.prices import Room


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the search: what may still be chosen, and the items it pays for."""

    room: Room
    paid_devices: frozenset[int] = frozenset()
    paid_links: frozenset[int] = frozenset()
    workspaces: tuple[tuple[int, float], ...] = ()
    """(device, bytes) of memory that is kept free for the largest workspace there."""
