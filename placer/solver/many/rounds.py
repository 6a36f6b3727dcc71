"""Rounds of prices and columns: what every part would do at the master problem's prices, and the bound that follows.

The master problem (master.py) mixes the columns known and prices what is shared; the one-flow solver answers with
each part's best choice at these prices, which is a new column and, over all parts, the bound (prices.py).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from placer.solver.many.answers import Answer
from placer.solver.many.prices import no_prices, offset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placer.solver.many.best import Best
    from placer.solver.many.master import Mix
    from placer.solver.many.pool import Pool
    from placer.solver.many.prices import Prices
    from placer.solver.many.pricing import Pricing

_SMOOTHING = 0.5
"""Weight of the best prices so far in the next ones: prices of master problems alone jump."""
_SAMPLE = 24
"""Parts at least that are priced in a round that only looks for columns, or a twelfth of all."""
_SAMPLE_ROUNDS = 8
_QUIET_ROUNDS = 2
"""So many of them in a row must promise little before all parts are priced."""
_SAMPLE_TIME = 0.3
"""Most of such rounds, and the fraction of the time limit that they may take."""
_SHARPNESS = 0.02
"""Share of the gap asked for that the gap of a part's answer may be."""
_OVER = 1e-7
"""Excess of caps up to which the master problem counts as solved."""
_FARKAS_MARGIN = 1e-7
"""Share of its terms by which a bound without costs must exceed 0 to prove that there is no plan."""


class Rounds:
    """Prices so far, and what they prove."""

    def __init__(self, pool: Pool, best: Best, pricing: Pricing) -> None:
        self.pool, self.best, self.pricing = pool, best, pricing
        self.parts, self.coupling, self.master = pool.parts, pool.coupling, pool.master
        self.counts = tuple(part.count for part in self.parts)
        self.center: Prices | None = None
        """The prices with the best bound so far."""
        self.floors = [-math.inf] * len(self.parts)
        """Each part's minimum at the best prices so far."""
        self.gap = max(_SHARPNESS * best.gap, 1e-6)
        """Relative gap of the answers for single parts."""
        self._value = -math.inf
        """The best bound."""
        self._hope = -math.inf
        """The best bound, if answers that need more time bring nothing new."""
        self._whole = len(self.parts) <= _SAMPLE
        """Whether all parts are priced in each round."""

    def begin(self) -> bool:
        """Give each part its first columns; tell whether each has one."""
        self.pool.begin()
        wanting = [g for g in range(len(self.parts)) if not self.pool.columns[g]]
        prices, until_s = no_prices(self.coupling), self.best.until_s(0.1)
        answers = self.pricing.price(wanting, prices, until_s, gap=self.gap)
        for g, first in zip(wanting, answers, strict=True):
            answer = first
            if answer.choice is None and answer.bound < math.inf:
                # Nothing goes on without a choice of this flow: it may have all the time there is.
                (answer,) = self.pricing.price([g], prices, until_s, gap=self.gap, longest_s=math.inf)
            if answer.bound == math.inf:
                self.best.impossible = True
                return False
            if answer.choice is not None:
                self.pool.add(g, answer.choice)
        return all(self.pool.columns)

    def run(self, tolerance: float, reserve: float) -> Mix | None:
        """Add columns until the master problem's value and the bound are within a tolerance; return the last mix.

        Parameters
        ----------
        tolerance
            Relative distance at which to stop.
        reserve
            Fraction of the time limit to leave.
        """
        base, smoothing, mix, asked, quiet = 1.0, _SMOOTHING, None, False, 0
        while self.best.left_s(reserve) > 0:
            mix = self.master.solve(base)
            self.best.rounds += 1
            if base == 0.0 and mix.over <= _OVER:
                # There is a mix that keeps every cap: exceeding them was only too cheap.
                self.master.penalty *= 100.0
                base, asked = 1.0, False
                self._forget_prices()
                continue
            if base and mix.over <= _OVER and mix.objective - self._hope <= max(tolerance, 1e-8) * mix.objective:
                return mix
            if self._whole and base and mix.over > _OVER and not asked:
                # Before anything is spent on costs: can the caps be kept at all?
                base, asked = 0.0, True
                self._forget_prices()
                continue
            pure = self.center is None or not smoothing
            prices = mix.prices if self.center is None else mix.prices.mixed(self.center, smoothing)
            wanted = self._sample() if base and not self._whole else range(len(self.parts))
            answers, promise = self._answers(wanted, prices, reserve)
            if any(answer.bound == math.inf for answer in answers):
                self.best.impossible = True
                return mix
            new = self.pool.learn(wanted, answers)
            if self._whole:
                self._raise_bound(prices, answers)
            if self.best.impossible:
                return mix
            self.best.report()
            if not self._whole:
                worth = len(wanted) / len(self.parts) * mix.objective * max(self.best.gap, 1e-4)
                quiet = quiet + 1 if promise <= 0.1 * worth else 0
                late = self.best.rounds >= _SAMPLE_ROUNDS or self.best.left_s(1 - _SAMPLE_TIME) <= 0
                self._whole = late or quiet >= _QUIET_ROUNDS
                continue
            if new:
                smoothing = _SMOOTHING
            elif not pure:
                smoothing = 0.0
            else:
                if not base:
                    self._prove_impossible(prices, answers)
                return mix
        return mix

    def tighten(self, reserve: float) -> None:
        """Give more time to the parts whose minimum at the best prices is not proven yet, the widest gap first."""
        prices = self.center
        if prices is None:
            return
        widths = []
        for g, (count, floor) in enumerate(zip(self.counts, self.floors, strict=True)):
            widths.append((count * (self.pool.cheapest(g, prices)[0] - floor), g))
        open_ = [g for width, g in sorted(widths, reverse=True) if width > 0.01 * self.best.gap * self.best.bound]
        for at in range(0, len(open_), self.pricing.processes):
            if self.best.done or self.best.left_s(reserve) <= 0:
                return
            wanted = open_[at : at + self.pricing.processes]
            answers = self._price(wanted, prices, reserve, math.inf)
            if any(answer.bound == math.inf for answer in answers):
                # Slower than the rounds allowed, but proven: a flow that no choice suits.
                self.best.impossible = self.best.objective == math.inf
                return
            self.pool.learn(wanted, answers)
            for g, answer in zip(wanted, answers, strict=True):
                self.floors[g] = max(self.floors[g], answer.bound)
            self.best.raise_bound(self._sum(prices, self.floors))

    @property
    def value(self) -> float:
        """The bound that the best prices and each part's minimum at them prove."""
        return -math.inf if self.center is None else self._sum(self.center, self.floors)

    def _forget_prices(self) -> None:
        """Begin anew with prices, where costs begin or cease to count: those before are in other units."""
        self.center, self._value, self._hope = None, -math.inf, -math.inf

    def _price(
        self, wanted: Sequence[int], prices: Prices, reserve: float, longest_s: float | None = None
    ) -> list[Answer]:
        """Price parts, each beginning with its cheapest column."""
        starts = {g: self.pool.cheapest(g, prices)[1].choice for g in wanted}
        until_s = self.best.until_s(reserve)
        if longest_s is None:
            return self.pricing.price(wanted, prices, until_s, gap=self.gap, starts=starts)
        return self.pricing.price(wanted, prices, until_s, gap=self.gap, starts=starts, longest_s=longest_s)

    def _answers(self, wanted: Sequence[int], prices: Prices, reserve: float) -> tuple[Sequence[Answer], float]:
        """Price parts; also return what the columns found promise to save.

        Where neither costs nor prices touch a part, its minimum is 0 and needs no solver.
        """
        if prices.base:
            answers = self._price(wanted, prices, reserve)
            promise = sum(
                self.counts[g] * (self.pool.cheapest(g, prices)[0] - answer.bound)
                for g, answer in zip(wanted, answers, strict=True)
                if answer.proven and answer.choice is not None and not self.master.knows(g, answer.choice)
            )
            return answers, promise
        touched = {g for key, price in (*prices.on.items(), *prices.weights.items()) if price for g in key[:1]}
        for g in wanted:
            own = self.coupling.parts[g]
            memory = any(prices.memory.get(self.parts[g].devices[i]) for i in own.crowded)
            if memory or prices.rows[list(own.rows)].any():
                touched.add(g)
        asked = [g for g in wanted if g in touched]
        found = dict(zip(asked, self._price(asked, prices, reserve), strict=True))
        return [found.get(g, Answer(None, 0.0, proven=True)) for g in wanted], 0.0

    def _sample(self) -> list[int]:
        """Pick the parts of a round that only looks for columns: others in each round, spread over the site."""
        stride = min(12, -(-len(self.parts) // _SAMPLE))
        return list(range(self.best.rounds % stride, len(self.parts), stride))

    def _sum(self, prices: Prices, floors: Sequence[float]) -> float:
        """Compute the bound that minima of all parts at given prices make."""
        terms = [count * floor for count, floor in zip(self.counts, floors, strict=True)]
        return math.fsum([*terms, offset(self.coupling, self.counts, prices)])

    def _raise_bound(self, prices: Prices, answers: Sequence[Answer]) -> None:
        """Compute the bound that these prices prove, and keep it if it is the best."""
        floors = [answer.bound for answer in answers]
        value = self._sum(prices, floors)
        if prices.base == 0.0:
            size = math.fsum(count * floor for count, floor in zip(self.counts, floors, strict=True))
            size += abs(offset(self.coupling, self.counts, prices))
            if value > _FARKAS_MARGIN * size:
                self.best.impossible = True
        elif value > self._value:
            self._value, self.center, self.floors = value, prices, floors
            hoped = [a.bound if a.proven else self.pool.cheapest(g, prices)[0] for g, a in enumerate(answers)]
            self._hope = self._sum(prices, hoped)
            self.best.raise_bound(value)

    def _prove_impossible(self, prices: Prices, answers: Sequence[Answer]) -> None:
        """Give more time to the parts whose minimum at prices without costs is not proven yet."""
        known = list(answers)
        open_ = [g for g, answer in enumerate(answers) if not answer.proven]
        for at in range(0, len(open_), self.pricing.processes):
            if self.best.impossible or self.best.left_s(0.3) <= 0:
                return
            wanted = open_[at : at + self.pricing.processes]
            for g, answer in zip(wanted, self._price(wanted, prices, 0.3, math.inf), strict=True):
                known[g] = answer
            self.pool.learn(wanted, [known[g] for g in wanted])
            self._raise_bound(prices, known)
