"""The entry to the solver of whole sites: many flows in, a plan with a proven bound out."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from placer.evaluate import evaluate
from placer.solver.exact.solve import solve_flow
from placer.solver.many.best import Best
from placer.solver.many.search import search
from placer.solver.outcome import OPTIMALITY_GAP, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from placer.index import ProblemIndex


def solve_flows(
    index: ProblemIndex,
    *,
    time_limit_s: float = 60.0,
    gap: float = OPTIMALITY_GAP,
    seed: int = 0,
    progress: Callable[[float, float], None] | None = None,
    processes: int | None = None,
) -> Outcome:
    """Find a plan for all flows of a site and prove how good it is.

    Parameters
    ----------
    index
        The problem.
    time_limit_s
        Wall-clock seconds after which the best plan so far is returned with its bound. Ctrl-C does the same.
    gap
        Relative distance between objective and bound that is good enough.
    seed
        Seed of the MILP solver. Equal seeds give equal plans where the time limit does not cut in.
    progress
        Called after each round with the best objective (inf if none) and the bound.
    processes
        How many processes solve one-flow problems; by default as many as there are cores. Plans are the same.

    Returns
    -------
    Outcome
        "optimal" only if the evaluated objective is within 1e-6 of the bound, "infeasible" only if that is proven.
    """
    started_s = time.monotonic()
    if len(index.flows) == 1:
        return _one_flow(index, gap, time_limit_s, started_s, progress)
    best = Best(index, gap=gap, started_s=started_s, time_limit_s=time_limit_s, progress=progress)
    try:
        search(index, best, seed=seed, processes=processes)
    except KeyboardInterrupt:
        return best.outcome(interrupted=True)
    return best.outcome()


def _one_flow(
    index: ProblemIndex,
    gap: float,
    time_limit_s: float,
    started_s: float,
    progress: Callable[[float, float], None] | None,
) -> Outcome:
    """Leave a single flow to the solver made for it."""
    found = solve_flow(index, time_limit_s=time_limit_s, gap=gap, progress=progress)
    choices = None if found.choice is None else (found.choice,)
    evaluation = None if choices is None else evaluate(index, choices)
    bound = 0.0 if math.isinf(found.bound) else max(0.0, found.bound)
    seconds = time.monotonic() - started_s
    return Outcome(found.status, choices, evaluation, bound, seconds, 1, found.interrupted)
