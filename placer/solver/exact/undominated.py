"""Picks the rows that no other row beats: the front that label setting and the listing of ways keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from placer.solver.exact.rows import Array


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
    kept: list[int] = []
    for i in order:
        if not kept or not (rows[kept] <= rows[i]).all(axis=1).any():
            kept.append(int(i))
    return kept
