"""What there is to find out about one part at prices: its best choice, or its front; the same in every process."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from placer.solver.exact.front import Front, list_front
from placer.solver.exact.solve import solve_flow
from placer.solver.many.prices import priced
from placer.solver.outcome import OPTIMALITY_GAP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placer.index import Choice, ProblemIndex
    from placer.solver.exact.front import Queue
    from placer.solver.many.coupling import Coupling
    from placer.solver.many.parts import Part
    from placer.solver.many.prices import Prices


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of a priced one-flow problem."""

    choice: Choice | None
    bound: float
    """Lower bound of every choice; infinite if there is none."""
    proven: bool
    """Whether choice and bound are as close as was asked."""
    rows: frozenset[int] = frozenset()
    """What the solver need not find out again (`FlowSolution.rows`)."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to solve for one part."""

    part: int
    start: Choice | None
    """A choice known beforehand."""
    rows: frozenset[int]
    """From the part's last answer."""


@dataclass(frozen=True, slots=True)
class FrontRequest:
    """Whose choices to list, by cost and use of a queue that others share."""

    part: int
    row: int
    """The queue's row, which has no price here but its own."""
    queue: Queue
    """In the part's positions."""
    reached: tuple[float, ...]
    """Prices up to which the front is wanted, the highest first: the next one where that takes too much work."""
    rows: frozenset[int] = frozenset()


def solve_alone(
    index: ProblemIndex,
    time_limit_s: float,
    *,
    gap: float = OPTIMALITY_GAP,
    start: Choice | None = None,
    rows: frozenset[int] = frozenset(),
) -> Answer:
    """Solve a problem with one flow: the one place that names the solver.

    Parameters
    ----------
    index
        The problem, priced or not.
    time_limit_s
        Seconds after which the best choice and bound so far are returned.
    gap
        Relative gap at which to stop.
    start, rows
        What is known beforehand.
    """
    found = solve_flow(index, time_limit_s=time_limit_s, gap=gap, start=start, rows=rows)
    if found.interrupted:
        # The solver answers Ctrl-C by ending early; here it ends the whole search.
        raise KeyboardInterrupt
    if found.status == "infeasible":
        return Answer(None, math.inf, proven=True)
    # No cost and no price is negative.
    bound = max(0.0, found.bound) if math.isfinite(found.bound) else 0.0
    return Answer(found.choice, bound, proven=found.gap <= gap, rows=found.rows)


def price_here(
    parts: Sequence[Part],
    coupling: Coupling,
    requests: Sequence[Request],
    prices: Prices,
    until_s: float,
    gap: float,
    longest_s: float,
) -> list[Answer]:
    """Solve the priced problems of some parts in this process; see `Pricing.price`."""
    answers = []
    for request in requests:
        left_s, g = until_s - time.monotonic(), request.part
        if left_s <= 0:
            answers.append(Answer(None, 0.0, proven=False, rows=request.rows))
            continue
        index = priced(parts[g], coupling.parts[g], g, prices)
        limit_s = min(left_s, longest_s)
        answers.append(solve_alone(index, limit_s, gap=gap, start=request.start, rows=request.rows))
    return answers


def front_here(
    parts: Sequence[Part], coupling: Coupling, requests: Sequence[FrontRequest], prices: Prices, until_s: float
) -> list[Front]:
    """List choices of some parts in this process; see `Pricing.fronts`."""
    found = []
    for request in requests:
        g = request.part
        free = prices.rows.copy()
        free[request.row] = 0.0
        index = priced(parts[g], coupling.parts[g], g, replace(prices, rows=free))
        price = float(prices.rows[request.row])
        for reached in request.reached:
            front = list_front(
                index, request.queue, price, reached, rows=request.rows, stop=lambda: time.monotonic() > until_s
            )
            if front.reached > -math.inf:
                break
        found.append(front)
    return found


TASKS = {task.__name__: task for task in (price_here, front_here)}
"""By name, as requests travel to other processes."""
