"""The search for a plan of a whole site: rounds of prices and columns, then plans out of the columns.

Column generation: a linear master problem (master.py) mixes known choices of each flow so that what flows share
suffices, and prices it; the one-flow solver answers with the best choice at these prices, which both is a new
column and makes the bound (prices.py). Plans come from an integer master over the columns (integer.py), and are
improved by letting single flows choose again beside what the others leave.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Hashable
from typing import TYPE_CHECKING

from placer.baselines import all_on
from placer.evaluate import evaluate
from placer.solver.many.columns import make_column
from placer.solver.many.coupling import couple
from placer.solver.many.integer import improve, pick_columns, stock_of
from placer.solver.many.master import Master, column_price
from placer.solver.many.parts import make_parts
from placer.solver.many.prices import no_prices, offset, priced
from placer.solver.many.pricing import Answer, solve_alone
from placer.solver.many.residual import beside
from placer.solver.outcome import OPTIMALITY_GAP, Outcome, relative_gap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from placer.evaluate import Evaluation
    from placer.index import Choice, ProblemIndex
    from placer.solver.many.columns import Column
    from placer.solver.many.master import Mix
    from placer.solver.many.prices import Prices
    from placer.solver.many.pricing import Pricing
    from placer.solver.many.stock import Stock
    from placer.solver.outcome import Status

_SMOOTHING = 0.5
"""Weight of the best prices so far in the next ones: prices of master problems alone jump."""
_SAMPLE = 24
"""Parts at least that are priced in a round that only looks for columns, or a twelfth of all."""
_SAMPLE_ROUNDS = 12
_QUIET_ROUNDS = 3
"""So many of them in a row must promise little before all parts are priced."""
_SAMPLE_TIME = 0.3
"""Most of such rounds, and the fraction of the time limit that they may take."""
_NEIGHBOURS = 40
"""Parts of one shape that try each other's new choices."""
_TWINS = 2
"""Devices that look alike on which a part is put as a whole to begin with."""
_COLUMNS = 20
"""Columns per part that the integer master chooses from."""
_OVER = 1e-7
"""Excess of caps up to which the master problem counts as solved."""
_FARKAS_MARGIN = 1e-7
"""Share of its terms by which a bound without costs must exceed 0 to prove that there is no plan."""


class Search:
    """One search: the columns and the best plan and bound so far."""

    def __init__(
        self,
        index: ProblemIndex,
        *,
        gap: float,
        seed: int,
        started_s: float,
        time_limit_s: float,
        progress: Callable[[float, float], None] | None,
    ) -> None:
        self.index, self.gap, self.seed, self.progress = index, gap, seed, progress
        self.started_s, self.limit_s = started_s, time_limit_s
        self.parts = make_parts(index)
        self.coupling = couple(index, self.parts)
        self.counts = tuple(part.count for part in self.parts)
        self.master = Master(self.parts, self.coupling)
        self.choices: tuple[Choice, ...] | None = None
        self.evaluation: Evaluation | None = None
        self.bound = 0.0
        self.impossible = False
        self.rounds = 0
        self._center: Prices | None = None
        """The prices with the best bound so far."""
        self._value = -math.inf
        """That bound."""
        self._hope = -math.inf
        """That bound, if answers that need more time bring nothing new."""
        self._floors = [-math.inf] * len(self.parts)
        """Each part's minimum at the best prices so far."""
        shapes: dict[Hashable, list[int]] = {}
        for g, part in enumerate(self.parts):
            shapes.setdefault(part.shape, []).append(g)
        self._alike = {g: tuple(some) for some in shapes.values() for g in some}

    @property
    def objective(self) -> float:
        """Of the best plan; infinite without one."""
        return math.inf if self.evaluation is None else self.evaluation.objective

    def outcome(self) -> Outcome:
        """State what was found."""
        status: Status = "infeasible" if self.impossible else "unknown"
        if self.evaluation is not None:
            status = "optimal" if relative_gap(self.objective, self.bound) <= OPTIMALITY_GAP else "feasible"
        seconds = time.monotonic() - self.started_s
        return Outcome(status, self.choices, self.evaluation, min(self.bound, self.objective), seconds, self.rounds)

    def run(self, pricing: Pricing) -> None:
        """Search until the gap is small enough, nothing helps any more, or time is up."""
        if not self._begin(pricing):
            return
        mix = self._price_out(pricing)
        if self.impossible or mix is None:
            return
        stock = self._plan(mix)
        if not self._done():
            self._tighten(pricing)
        if stock is not None and not self._done():
            self._polish(stock)

    def _left_s(self, reserve: float = 0.0) -> float:
        """Seconds left when a fraction of the time limit is reserved for what comes after."""
        return self.started_s + self.limit_s * (1 - reserve) - time.monotonic()

    def _done(self) -> bool:
        return self.evaluation is not None and relative_gap(self.objective, self.bound) <= self.gap

    def _begin(self, pricing: Pricing) -> bool:
        """Give each part its first columns; tell whether each has one."""
        for g, part in enumerate(self.parts):
            kinds = Counter[Hashable]()
            for d, device in enumerate(part.index.devices):
                kind = (device.tier, device.segment_s, device.segment_j, device.memory_bytes, device.always_on)
                kinds[kind] += 1
                choice = all_on(part.flow, d) if kinds[kind] <= _TWINS else None
                if choice is not None:
                    self._try(g, choice)
        wanting = [g for g in range(len(self.parts)) if not self.master.columns[g]]
        prices = no_prices(self.coupling)
        for g, first in zip(wanting, pricing.price(wanting, prices, self._until_s(0.1)), strict=True):
            answer = first
            if answer.choice is None and answer.bound < math.inf:
                # Nothing goes on without a choice of this flow: it may have all the time there is.
                alone = priced(self.parts[g], self.coupling.parts[g], g, prices)
                answer = solve_alone(alone, max(0.0, self._left_s(0.1)))
            if answer.bound == math.inf:
                self.impossible = True
                return False
            if answer.choice is not None:
                self.master.add(g, make_column(self.parts[g], self.coupling.parts[g], answer.choice))
        return all(self.master.columns)

    def _until_s(self, reserve: float) -> float:
        return time.monotonic() + self._left_s(reserve)

    def _try(self, g: int, choice: Choice) -> None:
        """Add a choice as a column if the part may make it."""
        if not self.master.knows(g, choice):
            column = make_column(self.parts[g], self.coupling.parts[g], choice)
            if column.allowed:
                self.master.add(g, column)

    def _price_out(self, pricing: Pricing) -> Mix | None:
        """Add columns until the master problem's value and the bound meet; return the last mix."""
        base, smoothing, mix, asked, quiet = 1.0, _SMOOTHING, None, False, 0
        whole = len(self.parts) <= _SAMPLE
        reserve = 0.3
        while self._left_s(reserve) > 0:
            mix = self.master.solve(base)
            self.rounds += 1
            if base == 0.0 and mix.over <= _OVER:
                # There is a mix that keeps every cap: exceeding them was only too cheap.
                self.master.penalty *= 100.0
                base, asked = 1.0, False
                self._forget_prices()
                continue
            if base and mix.over <= _OVER and mix.objective - self._hope <= max(self.gap / 3, 1e-8) * mix.objective:
                return mix
            if whole and base and mix.over > _OVER and not asked:
                # Before anything is spent on costs: can the caps be kept at all?
                base, asked = 0.0, True
                self._forget_prices()
                continue
            pure = self._center is None or not smoothing
            prices = mix.prices if self._center is None else mix.prices.mixed(self._center, smoothing)
            wanted = self._sample() if base and not whole else range(len(self.parts))
            answers = self._answers(pricing, wanted, prices, self._until_s(reserve))
            if any(answer.bound == math.inf for answer in answers):
                self.impossible = True
                return mix
            promise = sum(
                self.counts[g] * (self._cheapest(g, prices) - answer.bound)
                for g, answer in zip(wanted, answers, strict=True)
                if answer.proven
            )
            new = self._learn(wanted, answers)
            if whole:
                self._raise_bound(prices, answers)
            if self.impossible:
                return mix
            if self.progress is not None:
                self.progress(self.objective, self.bound)
            if not whole:
                worth = len(wanted) / len(self.parts) * mix.objective * max(self.gap, 1e-4)
                quiet = quiet + 1 if promise <= 0.1 * worth else 0
                late = self.rounds >= _SAMPLE_ROUNDS or self._left_s(1 - _SAMPLE_TIME) <= 0
                whole = late or quiet >= _QUIET_ROUNDS
                continue
            if new:
                smoothing = _SMOOTHING
            elif not pure:
                smoothing = 0.0
            else:
                if not base:
                    self._prove_impossible(pricing, prices, answers)
                return mix
        return mix

    def _forget_prices(self) -> None:
        """Begin anew with prices, where costs begin or cease to count: those before are in other units."""
        self._center, self._value, self._hope = None, -math.inf, -math.inf

    def _answers(self, pricing: Pricing, wanted: Sequence[int], prices: Prices, until_s: float) -> Sequence[Answer]:
        """Price parts; where neither costs nor prices touch a part, its minimum is 0 and needs no solver."""
        if prices.base:
            return pricing.price(wanted, prices, until_s)
        touched = {g for key, price in (*prices.on.items(), *prices.weights.items()) if price for g in key[:1]}
        for g in wanted:
            own = self.coupling.parts[g]
            memory = any(prices.memory.get(self.parts[g].devices[i]) for i in own.crowded)
            if memory or prices.rows[list(own.rows)].any():
                touched.add(g)
        asked = [g for g in wanted if g in touched]
        found = dict(zip(asked, pricing.price(asked, prices, until_s), strict=True))
        return [found.get(g, Answer(None, 0.0, proven=True)) for g in wanted]

    def _sample(self) -> list[int]:
        """Pick the parts of a round that only looks for columns: others in each round, spread over the site."""
        stride = min(12, -(-len(self.parts) // _SAMPLE))
        return list(range(self.rounds % stride, len(self.parts), stride))

    def _cheapest(self, g: int, prices: Prices) -> float:
        return min(column_price(self.coupling, g, column, prices) for column in self.master.columns[g])

    def _learn(self, wanted: Sequence[int], answers: Sequence[Answer]) -> int:
        """Add what was found as columns, also to parts of the same shape; return how many are new."""
        new = 0
        for g, answer in zip(wanted, answers, strict=True):
            if answer.choice is None or self.master.knows(g, answer.choice):
                continue
            new += self.master.add(g, make_column(self.parts[g], self.coupling.parts[g], answer.choice))
            alike = self._alike[g]
            at = max(0, min(alike.index(g) - _NEIGHBOURS // 2, len(alike) - _NEIGHBOURS))
            for other in alike[at : at + _NEIGHBOURS]:
                self._try(other, answer.choice)
        return new

    def _hoped(self, prices: Prices, answers: Sequence[Answer]) -> float:
        """Compute the bound that these prices would prove if the answers that need more time brought nothing new."""
        floors = [answer.bound if answer.proven else self._cheapest(g, prices) for g, answer in enumerate(answers)]
        terms = [count * floor for count, floor in zip(self.counts, floors, strict=True)]
        return math.fsum([*terms, offset(self.coupling, self.counts, prices)])

    def _raise_bound(self, prices: Prices, answers: Sequence[Answer]) -> None:
        """Compute the bound that these prices prove, and keep it if it is the best."""
        terms = [count * answer.bound for count, answer in zip(self.counts, answers, strict=True)]
        constant = offset(self.coupling, self.counts, prices)
        value = math.fsum([*terms, constant])
        if prices.base == 0.0:
            if value > _FARKAS_MARGIN * (math.fsum(map(abs, terms)) + abs(constant)):
                self.impossible = True
        elif value > self._value:
            self._value, self._center = value, prices
            self._floors = [answer.bound for answer in answers]
            self._hope = self._hoped(prices, answers)
            self.bound = max(self.bound, value)

    def _tighten(self, pricing: Pricing) -> None:
        """Give more time to the parts whose minimum at the best prices is not proven yet, the widest gap first."""
        prices = self._center
        if prices is None:
            return
        widths = [
            (count * (self._cheapest(g, prices) - floor), g)
            for g, (count, floor) in enumerate(zip(self.counts, self._floors, strict=True))
        ]
        open_ = [g for width, g in sorted(widths, reverse=True) if width > 0.01 * self.gap * self.bound]
        for at in range(0, len(open_), pricing.processes):
            if self._done() or self._left_s(0.2) <= 0:
                return
            wanted = open_[at : at + pricing.processes]
            answers = pricing.price(wanted, prices, self._until_s(0.2), math.inf)
            if any(answer.bound == math.inf for answer in answers):
                # Slower than the rounds allowed, but proven: a flow that no choice suits.
                self.impossible = self.evaluation is None
                return
            self._learn(wanted, answers)
            for g, answer in zip(wanted, answers, strict=True):
                self._floors[g] = max(self._floors[g], answer.bound)
            terms = [count * floor for count, floor in zip(self.counts, self._floors, strict=True)]
            self.bound = max(self.bound, math.fsum([*terms, offset(self.coupling, self.counts, prices)]))
            if self.progress is not None:
                self.progress(self.objective, self.bound)

    def _prove_impossible(self, pricing: Pricing, prices: Prices, answers: Sequence[Answer]) -> None:
        """Give more time to the parts whose minimum at prices without costs is not proven yet."""
        known = list(answers)
        open_ = [g for g, answer in enumerate(answers) if not answer.proven]
        for at in range(0, len(open_), pricing.processes):
            if self.impossible or self._left_s(0.3) <= 0:
                return
            wanted = open_[at : at + pricing.processes]
            for g, answer in zip(wanted, pricing.price(wanted, prices, self._until_s(0.3), math.inf), strict=True):
                known[g] = answer
            self._learn(wanted, [known[g] for g in wanted])
            self._raise_bound(prices, known)

    def _plan(self, mix: Mix) -> Stock | None:
        """Make a plan out of the columns: the integer master's, improved by single moves."""
        prices = mix.prices if self._center is None else self._center
        chosen = []
        for g, columns in enumerate(self.master.columns):
            kept = sorted(
                (column for column in columns if column.allowed),
                key=lambda column, g=g: column_price(self.coupling, g, column, prices),  # type: ignore[misc]
            )[:_COLUMNS]
            shares = mix.shares[g]
            mixed = [c for c, share in zip(columns, shares, strict=False) if share > _OVER and c.allowed]
            chosen.append([*kept, *(c for c in mixed if all(c is not k for k in kept))])
        picks = pick_columns(
            self.parts,
            self.coupling,
            chosen,
            gap=max(self.gap / 10, 1e-9),
            seed=self.seed,
            time_limit_s=0.6 * self._left_s(0.05),
        )
        if picks is None:
            picks = self._rounded(mix)
        if picks is None:
            return None
        stock = stock_of(self.parts, self.coupling, picks)
        improve(stock, self.master.columns, self._until_s(0.1))
        self._offer(stock)
        return stock

    def _rounded(self, mix: Mix) -> list[list[Column]] | None:
        """Give each member the largest share of the mix that is left."""
        picks = []
        for part, columns, shares in zip(self.parts, self.master.columns, mix.shares, strict=True):
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

    def _polish(self, stock: Stock) -> None:
        """Let single flows choose again beside what the others leave, those first that are dearest at the prices."""
        prices = self._center
        if prices is None:
            return
        order = sorted(
            stock.members(),
            key=lambda m: self._floors[m[0]] - column_price(self.coupling, m[0], stock.picks[m[0]][m[1]], prices),
        )
        for g, member in order:
            if self._left_s(0.1) <= 0 or self._done():
                break
            now = stock.picks[g][member]
            stock.put(g, now, -1)
            index = beside(stock, g)
            stock.put(g, now)
            answer = solve_alone(index, self._left_s(0.1))
            if answer.choice is None or answer.choice == now.choice:
                continue
            self._try(g, answer.choice)
            moved = stock.step(g, member, self.master.columns[g])
            if moved and stock.cost() < self.objective * (1 - self.gap / 4):
                self._offer(stock)
        improve(stock, self.master.columns, self._until_s(0.05))
        if stock.cost() < self.objective:
            self._offer(stock)

    def _offer(self, stock: Stock) -> None:
        """Evaluate a plan as a whole, and keep it if it is the best that keeps every rule."""
        if stock.excess() > 0:
            return
        choices: list[Choice] = [()] * len(self.index.flows)
        for part, picks in zip(self.parts, stock.picks, strict=True):
            for f, column in zip(part.members, picks, strict=True):
                choices[f] = column.choice
        evaluation = evaluate(self.index, choices)
        if evaluation.feasible and evaluation.objective < self.objective:
            self.choices, self.evaluation = tuple(choices), evaluation
            if self.progress is not None:
                self.progress(self.objective, self.bound)
