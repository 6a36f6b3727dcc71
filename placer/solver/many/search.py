"""The search for a plan of a whole site: rounds of prices and columns, then plans out of the columns, in turns.

Rounds (rounds.py) raise the bound and bring columns, queues (queues.py) raise it where whole choices share them; plans
(plans.py) are made of columns. What is known (best.py) is valid at every moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from placer.solver.many.coupling import couple
from placer.solver.many.parts import make_parts
from placer.solver.many.plans import Plans
from placer.solver.many.pool import Pool
from placer.solver.many.pricing import Pricing
from placer.solver.many.queues import Queues
from placer.solver.many.rounds import Rounds

if TYPE_CHECKING:
    from placer.index import ProblemIndex
    from placer.solver.many.best import Best

_TOLERANCES = (1 / 3, 1 / 12, 1 / 50)
"""Shares of the gap asked for that the bound may lack in each turn: a plan is mostly what is missing."""
_RESERVE = 0.3
"""Fraction of the time limit that rounds leave for plans."""


def search(index: ProblemIndex, best: Best, *, seed: int, processes: int | None) -> None:
    """Search until the gap is small enough, nothing helps any more, or time is up.

    Parameters
    ----------
    index
        The problem.
    best
        Takes what is found.
    seed
        Of the MILP solver.
    processes
        How many solve one-flow problems; by default as many as there are cores.
    """
    parts = make_parts(index)
    coupling = couple(index, parts)
    with Pricing(parts, coupling, processes) as pricing:
        pool = Pool(parts, coupling)
        rounds, plans = Rounds(pool, best, pricing), Plans(pool, best, seed)
        queues = Queues(pool, best, pricing)
        if not rounds.begin():
            return
        stock, size = plans.sketch(pool.master.solve()), 0
        for share in _TOLERANCES:
            mix = rounds.run(share * best.gap, _RESERVE)
            if mix is None or best.done:
                break
            prices = rounds.center or mix.prices
            grown = pool.size > size
            if grown:
                pool.fill(prices)
                stock = plans.sketch(mix) or stock
                if stock is not None:
                    plans.choose(mix, prices, stock, close=False)
            if not best.done:
                rounds.tighten(0.2)
            if not best.done and rounds.center is not None:
                queues.lift(rounds.center, rounds.floors, rounds.value, 0.1)
            if grown and stock is not None and not best.done:
                plans.choose(mix, prices, stock, close=True)
            size = pool.size
            if best.done or best.left_s(_RESERVE) <= 0:
                break
        if stock is not None and not best.done:
            plans.polish(stock, rounds)
