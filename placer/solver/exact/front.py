"""All that a flow may trade between its objective and its use of one queue, near the cheapest of both together.

Where flows share a queue, what one of them would like best is not all that matters: what is left of the queue at the
end may suit a choice that is second best. So here are all choices up to a price that no other beats in both.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from placer.solver.exact.bound import Bounder
from placer.solver.exact.node import NodeSolver
from placer.solver.exact.numbers import build_numbers, with_rows
from placer.solver.exact.prices import Room
from placer.solver.exact.undominated import undominated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from placer.index import Choice, ProblemIndex
    from placer.solver.exact.numbers import FlowNumbers
    from placer.solver.exact.rows import Array

    Queue = tuple[Literal["device", "medium"], int]

_PAID = 3
"""Devices to be switched on whose charge is counted where it is due; that of others is left out."""


@dataclass(frozen=True, slots=True)
class Front:
    """Points of objective and use, none better than another in both, and how far they are all there are."""

    objective: Array
    """(m,)"""
    use: Array
    """(m,) share of its time that the queue is busy."""
    choices: tuple[Choice, ...]
    """A choice for each point, which may break rules that were not looked at, or be charged too much here."""
    reached: float
    """A choice that keeps every rule has objective + price x use above this, or is no better than some point in
    objective and in use. Minus infinity where nothing was found out."""


def list_front(
    index: ProblemIndex,
    queue: Queue,
    price: float,
    reached: float,
    *,
    rows: frozenset[int] = frozenset(),
    stop: Callable[[], bool],
) -> Front:
    """List the choices of a problem's only flow by objective and use of a queue.

    Parameters
    ----------
    index
        A problem with a single flow whose objective is not latency.
    queue
        The device or medium by position; a busy second must count in its utilization.
    price
        Of a use of 1, in units of the objective; not negative.
    reached
        Up to which objective + price x use they are wanted.
    rows
        Rows to keep beside the deadline and the queue's own (`FlowSolution.rows`): with fewer the points are lower.
    stop
        Asked now and then; true ends the work without a result.
    """
    nothing = Front(np.zeros(0), np.zeros(0), (), -math.inf)
    every = build_numbers(index, index.flows[0])
    kind, position = queue
    seconds = every.rows.device_s if kind == "device" else every.rows.medium_s
    (tracked,) = np.flatnonzero(seconds[:, position])
    if not every.available.any(axis=1).all():
        # Some op can run nowhere: there are no choices.
        return replace(nothing, reached=reached)
    active = np.zeros(every.rows.count, dtype=bool)
    active[[0, every.rows.deadline, int(tracked), *(r for r in rows if r < every.rows.count)]] = True
    n = with_rows(every, active)
    held = int(active[:tracked].sum())
    start = np.zeros(n.rows.count)
    start[0], start[held] = 1.0, price
    limit = float(n.rows.limit[held])
    top = reached - (price * limit if math.isfinite(limit) else 0.0)
    solver = NodeSolver(Bounder(n), stop)
    points, choices = [], []
    for room, spent in _rooms(n):
        ways = solver.ways(room, spent, start, held, top)
        if ways is None:
            return nothing
        points += [(way.rows + spent)[[0, held]] for way in ways]
        choices += [n.choice_of(np.array(solver.places(way))) for way in ways]
    if not points:
        return replace(nothing, reached=reached)
    found = np.array(points)
    best = undominated(found)
    return Front(found[best, 0], found[best, 1], tuple(choices[i] for i in best), reached)


def _rooms(n: FlowNumbers) -> Iterator[tuple[Room, Array]]:
    """Each set of devices to be switched on: what may be chosen with it, and what it adds to the rows.

    A choice that uses some of them is counted rightly in the room of just these. In larger ones it costs too much,
    which does no harm: it is a choice there is, and what it beats there it beats in the smaller room too.
    """
    links = np.ones(len(n.index.links), dtype=bool)
    charges = n.rows.idle_rows[:, 0]
    decided = [int(d) for d in np.argsort(-charges, kind="stable")[:_PAID] if charges[d] > 0]
    works = n.seconds > 0
    for count in range(len(decided) + 1):
        for paid in itertools.combinations(decided, count):
            left = np.isin(n.device_of, [d for d in decided if d not in paid])
            available = n.available & ~(works & left[None, :])
            if available.any(axis=1).all():
                yield Room(available, links), sum((n.rows.idle_rows[d] for d in paid), np.zeros(n.rows.count))
