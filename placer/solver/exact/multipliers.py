"""Finds multipliers that make the Lagrangian bound high: a concave function, maximized row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from placer.solver.exact.bound import Bound
    from placer.solver.exact.rows import Array

_STEPS = 12
_ROUNDS = 3
_NUDGE = 1e-6


def raise_bound(
    at: Callable[[Array], Bound],
    start: Array,
    limit: Array,
    enough: float,
    stop: Callable[[], bool],
    *,
    held: int | None = None,
) -> Bound:
    """Raise the bound by choosing multipliers, from `start` on, until it is at least `enough` or as high as it gets.

    Parameters
    ----------
    at
        The bound at given multipliers.
    start
        (R,) multipliers to begin with; the first, the objective's, is kept.
    limit
        (R,) the rows' limits, for the scale of the multipliers.
    enough
        No need to go higher.
    stop
        Asked before each row; true ends the work.
    held
        A row whose multiplier is kept too.
    """
    best = at(start)
    rows = len(start)
    for _ in range(_ROUNDS):
        before = best.value
        for r in range(1, rows):
            if r == held:
                continue
            if not np.isfinite(best.value) or best.value >= enough or stop():
                return best
            best = _along(at, best, r, abs(float(limit[r])), enough)
        if rows <= 2 or best.value - before <= 1e-7 * abs(best.value):
            break
    return best


def _along(at: Callable[[Array], Bound], best: Bound, row: int, limit: float, enough: float) -> Bound:
    """Maximize over one multiplier by cutting planes: each value with its slope bounds the function from above."""

    def evaluate(x: float) -> tuple[float, float, Bound]:
        moved = best.multipliers.copy()
        moved[row] = x
        # What is known need not be computed again: mostly the first of all, at 0.
        here = best if best.multipliers[row] == x else at(moved)
        moved = moved.copy()
        moved[row] = x * (1 + _NUDGE) if x > 0 else 1e-9 * unit
        slope = (at(moved).value - here.value) / (moved[row] - x)
        return here.value, slope, here

    # A price at which the row's limit and the objective weigh about the same.
    unit = max(abs(best.value), abs(best.value - best.offset), 1e-12) / max(limit, 1e-12)
    x_low = 0.0
    low = evaluate(0.0)
    if low[2].value > best.value:
        best = low[2]
    if low[1] <= 0:
        return best
    x_high = max(best.multipliers[row], 0.1 * unit)
    high = evaluate(x_high)
    for _ in range(12):
        if not np.isfinite(high[0]):
            return high[2]
        if high[2].value > best.value:
            best = high[2]
        if high[1] <= 0 or best.value >= enough:
            break
        x_low, low = x_high, high
        x_high *= 4
        high = evaluate(x_high)
    for _ in range(_STEPS):
        if high[1] > 0 or low[1] - high[1] <= 0 or best.value >= enough:
            break
        x = (high[0] - low[0] + low[1] * x_low - high[1] * x_high) / (low[1] - high[1])
        top = low[0] + low[1] * (x - x_low)
        if not x_low < x < x_high or top - best.value <= 1e-9 * abs(best.value):
            break
        middle = evaluate(x)
        if middle[0] > best.value:
            best = middle[2]
        if middle[1] > 0:
            x_low, low = x, middle
        else:
            x_high, high = x, middle
    return best
