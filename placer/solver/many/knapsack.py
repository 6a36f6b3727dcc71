"""The least that flows cost together within one queue: whole choices of whole flows, not a mix of them.

A bound made of prices fills a queue to the last bit. Here each flow takes one point of its front, and the queue must
hold them: a knapsack with several choices per item, solved by adding one flow after the other and keeping the sums
that none beats in both cost and use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placer.solver.many.coupling import Array

_MOST = 20_000
"""Sums kept; beyond, sums of nearly the same use are made one that is as good as the best of them in both."""
_ROUNDING = 1e-11
"""Share of the largest sums by which limits are widened, for sums that were added up in another order."""


def least_sum(
    fronts: Sequence[tuple[Array, Array]], capacity: float, price: float, ceiling: float
) -> tuple[float, bool]:
    """Bound from below what choices cost that a queue holds together.

    Parameters
    ----------
    fronts
        For each flow its points: (m,) cost and (m,) use.
    capacity
        What the uses may add up to.
    price
        Of a use of 1: any that is not negative is right, one near the queue's own saves most work.
    ceiling
        No need to know of sums above this.

    Returns
    -------
    tuple
        The least sum, or the ceiling where that is less; and whether points reach that sum and were not rounded.
    """
    if not fronts:
        return min(0.0, ceiling), ceiling >= 0
    size = sum(float(np.abs(cost).max(initial=0.0)) for cost, _ in fronts) + price * abs(capacity)
    top = ceiling + _ROUNDING * size
    room = capacity + _ROUNDING * (abs(capacity) + sum(float(use.max(initial=0.0)) for _, use in fronts))
    if any(not len(cost) for cost, _ in fronts):
        return ceiling, False
    # What those still to come cost and use at least.
    ahead = np.cumsum([0.0] + [float((c + price * u).min()) for c, u in reversed(fronts)])[::-1] - price * capacity
    least = np.cumsum([0.0] + [float(u.min()) for _, u in reversed(fronts)])[::-1]
    costs, uses, exact = np.zeros(1), np.zeros(1), True
    for i, (cost, use) in enumerate(fronts):
        both = (costs[:, None] + cost[None, :]).ravel(), (uses[:, None] + use[None, :]).ravel()
        near = (both[0] + price * both[1] + ahead[i + 1] <= top) & (both[1] + least[i + 1] <= room)
        costs, uses = _front(both[0][near], both[1][near])
        if not len(costs):
            return ceiling, False
        if len(costs) > _MOST:
            costs, uses = _rounded(costs, uses)
            exact = False
    value = float(costs.min())
    return (value, exact) if value <= ceiling else (ceiling, False)


def _front(costs: Array, uses: Array) -> tuple[Array, Array]:
    """Keep what none beats or equals in both, by rising use."""
    order = np.lexsort((costs, uses))
    costs, uses = costs[order], uses[order]
    keep = np.ones(len(costs), dtype=bool)
    keep[1:] = costs[1:] < np.minimum.accumulate(costs)[:-1]
    return costs[keep], uses[keep]


def _rounded(costs: Array, uses: Array) -> tuple[Array, Array]:
    """Join neighbours, by rising use: the cost of the last, which is the least, and the use of the first."""
    starts = np.linspace(0, len(costs), _MOST // 2, endpoint=False).astype(np.int64)
    ends = np.append(starts[1:], len(costs)) - 1
    return costs[ends], uses[starts]
