"""Plans out of columns: an integer master problem, then single flows that choose again beside what others leave."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from placer.solver.many.answers import solve_alone
from placer.solver.many.clusters import clusters
from placer.solver.many.integer import improve, pick_columns, stock_of
from placer.solver.many.master import column_price
from placer.solver.many.residual import beside

if TYPE_CHECKING:
    from placer.solver.many.best import Best
    from placer.solver.many.columns import Column
    from placer.solver.many.master import Mix
    from placer.solver.many.pool import Pool
    from placer.solver.many.prices import Prices
    from placer.solver.many.rounds import Rounds
    from placer.solver.many.stock import Stock

_COLUMNS = 20
"""Columns per part that the integer master chooses from, beside those of the mix."""
_TAKEN = 1e-7
"""Least share of a column that counts as taken."""

_FAIR, _CLOSE = 0.1, 0.02
"""Shares of the gap asked for that may be lost where a solver chooses."""


class Plans:
    """Makes plans and keeps the best of them up to date."""

    def __init__(self, pool: Pool, best: Best, seed: int) -> None:
        self.pool, self.best, self.seed = pool, best, seed
        self.parts, self.coupling = pool.parts, pool.coupling
        self.clusters = clusters(pool.parts, pool.coupling)

    def sketch(self, mix: Mix) -> Stock | None:
        """Give each member the column of which most is left in the mix, and move single members."""
        picks = self._rounded(mix)
        if picks is None:
            return None
        stock = stock_of(self.parts, self.coupling, picks)
        improve(stock, self.pool.columns, self.best.until_s(0.1))
        self.best.offer(self.parts, stock)
        return stock

    def choose(self, mix: Mix, prices: Prices, stock: Stock, *, close: bool) -> None:
        """Let the integer master choose anew for each cluster of parts, beside what the others hold.

        A close choice takes many times as long as a fair one, so it is made only where the fair one will not do.
        """
        gap = max((_CLOSE if close else _FAIR) * self.best.gap, 1e-9)
        chosen = [self._candidates(g, mix, prices) for g in range(len(self.parts))]
        left = len(self.parts)
        for cluster in self.clusters:
            left_s = 0.6 * self.best.left_s(0.05) * len(cluster) / left
            left -= len(cluster)
            found = pick_columns(
                stock,
                cluster,
                [chosen[g] for g in cluster],
                gap=gap,
                seed=self.seed,
                time_limit_s=left_s,
            )
            if found is None:
                continue
            had, rank = [list(stock.picks[g]) for g in cluster], (stock.excess(), stock.cost())
            stock.swap(cluster, found)
            if (stock.excess(), stock.cost()) > rank:
                # The solver ran out of time before it was as good as single moves.
                stock.swap(cluster, had)
        improve(stock, self.pool.columns, self.best.until_s(0.1))
        self.best.offer(self.parts, stock)

    def polish(self, stock: Stock, rounds: Rounds) -> None:
        """Let single flows choose again beside what the others leave, those first that may gain most.

        What a flow may gain is what it pays at the prices above its least, and the worth of what nobody uses.
        """
        prices = rounds.center
        if prices is None:
            return

        unused = prices.rows * np.maximum(0.0, self.coupling.caps - stock.load)

        def gain(member: tuple[int, int]) -> float:
            g, i = member
            paid = column_price(self.coupling, g, stock.picks[g][i], prices)
            return paid - rounds.floors[g] + float(unused[list(self.coupling.parts[g].rows)].sum())

        for g, member in sorted(stock.members(), key=gain, reverse=True):
            if self.best.left_s(0.1) <= 0 or self.best.done:
                break
            now = stock.picks[g][member]
            stock.put(g, now, -1)
            index = beside(stock, g)
            stock.put(g, now)
            answer = solve_alone(index, self.best.left_s(0.1), gap=max(_CLOSE * self.best.gap, 1e-6), start=now.choice)
            if answer.choice is None or answer.choice == now.choice:
                continue
            self.pool.offer(g, answer.choice)
            moved = stock.step(g, member, self.pool.columns[g])
            if moved and stock.cost() < self.best.objective * (1 - self.best.gap / 4):
                self.best.offer(self.parts, stock)
        improve(stock, self.pool.columns, self.best.until_s(0.05))
        self.best.offer(self.parts, stock)

    def _candidates(self, g: int, mix: Mix, prices: Prices) -> list[Column]:
        """Columns of a part that the integer master may choose: the cheapest at the prices and those of the mix."""
        columns, costs = self.pool.columns[g], self.pool.costs(g, prices)
        order = sorted((k for k, column in enumerate(columns) if column.allowed), key=costs.__getitem__)
        kept = dict.fromkeys(order[:_COLUMNS])
        for k, share in enumerate(mix.shares[g]):
            if share > _TAKEN and columns[k].allowed:
                kept[k] = None
        return [columns[k] for k in kept]

    def _rounded(self, mix: Mix) -> list[list[Column]] | None:
        picks = []
        for part, columns, shares in zip(self.parts, self.pool.columns, mix.shares, strict=True):
            left = [share if column.allowed else -math.inf for share, column in zip(shares, columns, strict=False)]
            chosen = []
            for _ in range(part.count):
                k = max(range(len(left)), key=left.__getitem__)
                if left[k] == -math.inf:
                    return None
                left[k] -= 1.0
                chosen.append(columns[k])
            picks.append(chosen)
        return picks
