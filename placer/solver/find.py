"""Sends a problem to the solver that suits it; every search of the package begins here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from placer.baselines import best_allowed, judge_baselines, starting_choices
from placer.evaluate import evaluate
from placer.solver.floor import floor
from placer.solver.known import Known
from placer.solver.many.solve import solve_flows
from placer.solver.one_flow import find_one_flow
from placer.solver.outcome import OPTIMALITY_GAP
from placer.solver.plain import is_small, search

if TYPE_CHECKING:
    from collections.abc import Callable

    from placer.index import ProblemIndex
    from placer.solver.outcome import Outcome

_SEEDS = 2**30
"""Of seeds as many are told apart: MILP solvers take whole numbers from 0 to 2^31, and turns count on from theirs."""

_SMALL_S = 4.0
"""Seconds that the MILP has for a site before the solver of whole sites gets its turn."""


def find(
    index: ProblemIndex,
    *,
    time_limit_s: float = 60.0,
    gap: float = OPTIMALITY_GAP,
    seed: int = 0,
    progress: Callable[[float, float], None] | None = None,
) -> Outcome:
    """Search for the best choice: within a wide gap, or where time runs out, no worse than any baseline.

    Parameters
    ----------
    index
        The problem.
    time_limit_s, gap, seed, progress
        As `placer.solver.solve.solve`.

    Returns
    -------
    Outcome
        With status, choices, bound and seconds.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C ended the search before it had a choice to return.
    """
    known = Known(gap, floor(index))
    seed %= _SEEDS
    interrupted = False
    try:
        if len(index.flows) == 1:
            find_one_flow(index, known, time_limit_s, seed, progress)
        else:
            _many_flows(index, known, time_limit_s, seed, progress)
    except KeyboardInterrupt:
        if known.best.evaluation is None:
            raise
        interrupted = True
    if known.best.status not in ("optimal", "infeasible"):
        simple = best_allowed(judge_baselines(index))
        if simple is not None and simple.choices is not None:
            known.offer(index, [simple.choices])
    return replace(known.best, interrupted=interrupted)


def _many_flows(
    index: ProblemIndex,
    known: Known,
    time_limit_s: float,
    seed: int,
    progress: Callable[[float, float], None] | None,
) -> None:
    """Let the MILP try small sites first, which it mostly proves at once; then the solver of whole sites."""
    if is_small(index):
        starts = starting_choices(index)
        turn_s = min(time_limit_s, _SMALL_S)
        known.join(search(index, starts=starts, time_limit_s=turn_s, gap=known.gap, seed=seed, progress=progress))
        if known.done():
            return
    left_s = time_limit_s - known.seconds()
    if left_s > 0:
        found = solve_flows(index, time_limit_s=left_s, gap=known.gap, seed=seed, progress=progress)
        if found.choices is not None:
            # Its claim counts only as far as the referee confirms it.
            found = replace(found, evaluation=evaluate(index, found.choices))
        known.join(found)
