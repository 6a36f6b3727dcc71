"""Picks the rows that no other row beats: the front that label setting and the listing of ways keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from placer.solver.exact.numbers import Flags
    from placer.solver.exact.rows import Array

_CHUNK = 64
"""Rows compared at a time with those kept."""


def undominated(rows: Array) -> list[int]:
    """Positions of the rows (m, R) that no other row beats or equals in every column."""
    order = np.lexsort(rows.T[::-1])
    if rows.shape[1] == 1:
        return [int(order[0])]
    if rows.shape[1] == 2:
        lowest = np.minimum.accumulate(rows[order, 1])
        keep = np.ones(len(order), dtype=bool)
        keep[1:] = rows[order[1:], 1] < lowest[:-1]
        return [int(i) for i in order[keep]]
    # In this order no row is beaten by a later one; equal rows stand together and the first of them stays.
    kept = rows[order[:0]]
    found: list[int] = []
    for at in range(0, len(order), _CHUNK):
        some = order[at : at + _CHUNK]
        if len(kept):
            some = some[~_beaten(rows[some], kept)]
        own = rows[some]
        among = (own[:, None, :] <= own[None, :, :]).all(axis=2)
        # Beaten by an earlier one of the chunk: what beats that one beats this one too.
        some = some[~np.triu(among, 1).any(axis=0)]
        kept = np.concatenate([kept, rows[some]])
        found += some.tolist()
    return found


def _beaten(rows: Array, kept: Array) -> Flags:
    """For each row, whether some kept row beats or equals it."""
    below: Flags = np.ones((len(kept), len(rows)), dtype=bool)
    for column in range(rows.shape[1]):
        below &= kept[:, column, None] <= rows[None, :, column]
    beaten: Flags = np.any(below, axis=0)
    return beaten
