"""The entry to the solver of whole sites: many flows in, a plan with a proven bound out."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from placer.evaluate import evaluate
from placer.solver.many.pricing import Pricing, solve_alone
from placer.solver.many.search import Search
from placer.solver.outcome import OPTIMALITY_GAP, Outcome, relative_gap

if TYPE_CHECKING:
    from collections.abc import Callable

    from placer.index import ProblemIndex
    from placer.solver.outcome import Status


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
        return _one_flow(index, time_limit_s, started_s, progress)
    search = Search(index, gap=gap, seed=seed, started_s=started_s, time_limit_s=time_limit_s, progress=progress)
    try:
        with Pricing(search.parts, search.coupling, processes) as pricing:
            search.run(pricing)
    except KeyboardInterrupt:
        return replace(search.outcome(), interrupted=True)
    return search.outcome()


def _one_flow(
    index: ProblemIndex, time_limit_s: float, started_s: float, progress: Callable[[float, float], None] | None
) -> Outcome:
    """Leave a single flow to the solver made for it."""
    answer = solve_alone(index, time_limit_s)
    evaluation = None if answer.choice is None else evaluate(index, (answer.choice,))
    if evaluation is not None and not evaluation.feasible:
        evaluation = None
    status: Status = "infeasible" if answer.bound == math.inf else "unknown"
    if evaluation is not None:
        close = relative_gap(evaluation.objective, answer.bound) <= OPTIMALITY_GAP
        status = "optimal" if close else "feasible"
        if progress is not None:
            progress(evaluation.objective, answer.bound)
    choices = None if evaluation is None or answer.choice is None else (answer.choice,)
    objective = math.inf if evaluation is None else evaluation.objective
    bound = 0.0 if math.isinf(answer.bound) else min(answer.bound, objective)
    return Outcome(status, choices, evaluation, bound, time.monotonic() - started_s, 1)
