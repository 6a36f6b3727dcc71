"""Raises the bound where a queue is shared by whole choices: queue by queue, over all choices that can matter.

With prices p, cost'(x) what a choice costs at all of them but that of queue r, and least_f a flow's minimum at all of
them, the bound of prices.py holds for r's flows and r itself

    sum_{f on r} least_f - p_r cap_r.     In its place     min { sum_f cost'(x_f) : sum_f use_r(x_f) <= cap_r }

may stand, the same Lagrangian with row r kept and not priced; and so on for each other queue with none of these flows.
The minimum is one over fronts (placer/solver/exact/front.py): a choice that a point of its flow's front equals or beats
in cost' and use can be exchanged for it. Where some flow's choice is worse than no point, it costs more than `reached`
of that front at all prices, the others cost at least their least, and what is left of the queue is worth no less than
nothing: together more than

    ceiling = sum_{f on r} least_f - p_r cap_r + min_f (reached_f - least_f).

So the smaller of the two stands for these parts (placer/solver/many/knapsack.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from placer.solver.many.answers import FrontRequest
from placer.solver.many.knapsack import least_sum
from placer.solver.many.master import column_price

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from placer.solver.exact.front import Front, Queue
    from placer.solver.many.best import Best
    from placer.solver.many.coupling import Array
    from placer.solver.many.pool import Pool
    from placer.solver.many.prices import Prices
    from placer.solver.many.pricing import Pricing

_TOGETHER = 40
"""Parts at least whose fronts are listed at a time, so that no process waits for long."""
_SHARES = (1.0, 0.5, 0.2)
"""Where a front up to a window is too much work, these shares of the window are tried."""
_MARGIN = 1e-8
"""Share of its terms by which a queue's minimum is lowered, against rounding."""


@dataclass(frozen=True, slots=True)
class _Shared:
    """A queue and those who share it."""

    row: int
    parts: tuple[int, ...]
    at: tuple[Queue, ...]
    """The queue in each part's positions."""
    window: float
    """What its best plan of known columns costs above the bound: no more can be proven."""


class Queues:
    """Lists fronts and raises the bound by them."""

    def __init__(self, pool: Pool, best: Best, pricing: Pricing) -> None:
        self.pool, self.best, self.pricing = pool, best, pricing
        self.parts, self.coupling = pool.parts, pool.coupling

    def lift(self, prices: Prices, floors: Sequence[float], bound: float, reserve: float) -> None:
        """Raise the bound queue by queue until the gap is small enough; what is listed becomes columns.

        Parameters
        ----------
        prices, floors, bound
            Prices, a lower bound of each part's minimum at them, and the bound that follows.
        reserve
            Fraction of the time limit to leave.
        """
        most = self.best.objective - bound
        if not math.isfinite(most):
            return
        # First where most may be won for the work.
        queues = sorted(
            self._queues(prices, floors, most),
            key=lambda shared: (-shared.window / sum(self.parts[g].flow.size for g in shared.parts), shared.row),
        )
        while queues and not self.best.done and self.best.left_s(reserve) > 0:
            some = [queues.pop(0)]
            while queues and sum(len(shared.parts) for shared in some) < _TOGETHER:
                some.append(queues.pop(0))
            requests = [
                FrontRequest(g, shared.row, queue, tuple(floors[g] + share * shared.window for share in _SHARES))
                for shared in some
                for g, queue in zip(shared.parts, shared.at, strict=True)
            ]
            fronts = iter(self.pricing.fronts(requests, prices, self.best.until_s(reserve)))
            for shared in some:
                own = [next(fronts) for _ in shared.parts]
                for g, front in zip(shared.parts, own, strict=True):
                    for choice in front.choices:
                        self.pool.offer(g, choice)
                bound += self._gain(shared, own, prices, floors)
                self.best.raise_bound(bound)

    def _gain(self, shared: _Shared, fronts: Sequence[Front], prices: Prices, floors: Sequence[float]) -> float:
        """By how much the queue's minimum is above what its parts' minima and its price say."""
        price, capacity = float(prices.rows[shared.row]), float(self.coupling.caps[shared.row])
        counts = [self.parts[g].count for g in shared.parts]
        lowest = [floors[g] for g in shared.parts]
        before = math.fsum([*(c * low for c, low in zip(counts, lowest, strict=True)), -price * capacity])
        size = math.fsum([*(c * abs(low) for c, low in zip(counts, lowest, strict=True)), price * abs(capacity)])
        least = []
        for low, front in zip(lowest, fronts, strict=True):
            known = min([front.reached, *(front.objective + price * front.use)])
            least.append(max(low, known))
        slack = min(max(front.reached - low, 0.0) for low, front in zip(least, fronts, strict=True))
        ceiling = math.fsum([*(c * low for c, low in zip(counts, least, strict=True)), -price * capacity, slack])
        value = ceiling
        if slack > 0:
            points = [
                (front.objective, front.use) for count, front in zip(counts, fronts, strict=True) for _ in range(count)
            ]
            value, _ = least_sum(points, capacity, price, ceiling)
        return max(0.0, value - before - _MARGIN * size)

    def _queues(self, prices: Prices, floors: Sequence[float], most: float) -> Iterator[_Shared]:
        """Queues that have a price, the dearest first, and no part in common; windows are at most `most`."""
        users: dict[int, list[tuple[int, int, Queue]]] = {}
        for g, own in enumerate(self.coupling.parts):
            for k, r in enumerate(own.rows):
                queue = _queue(own.busy[k], own.air[k])
                if queue is not None and prices.rows[r] > 0:
                    users.setdefault(r, []).append((g, k, queue))
        taken: set[int] = set()
        for r in sorted(users, key=lambda r: (-prices.rows[r] * self.coupling.caps[r], r)):
            if taken.isdisjoint(g for g, _, _ in users[r]):
                taken.update(g for g, _, _ in users[r])
                price, capacity = float(prices.rows[r]), float(self.coupling.caps[r])
                known = [
                    front for g, k, _ in users[r] for front in [self._known(g, k, price, prices)] * self.parts[g].count
                ]
                least = math.fsum(self.parts[g].count * floors[g] for g, _, _ in users[r]) - price * capacity
                window = least_sum(known, capacity, price, least + most)[0] - least
                if window > _MARGIN * most:
                    yield _Shared(r, tuple(g for g, _, _ in users[r]), tuple(queue for _, _, queue in users[r]), window)

    def _known(self, g: int, k: int, price: float, prices: Prices) -> tuple[Array, Array]:
        """Cost' and use of a part's columns."""
        columns = [column for column in self.pool.columns[g] if column.allowed]
        use = np.array([float(column.takes[k]) for column in columns])
        cost = np.array([column_price(self.coupling, g, column, prices) for column in columns]) - price * use
        return cost, use


def _queue(busy: Array, air: Array) -> Queue | None:
    """Tell what a row counts the seconds of."""
    devices, media = np.flatnonzero(busy), np.flatnonzero(air)
    if len(devices) == 1 and not len(media):
        return ("device", int(devices[0]))
    if len(media) == 1 and not len(devices):
        return ("medium", int(media[0]))
    return None
