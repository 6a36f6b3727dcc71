"""Sends a problem to the solver that suits it; every search of the package begins here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from placer.baselines import starting_choices
from placer.evaluate import evaluate
from placer.solver.exact.solve import solve_flow
from placer.solver.outcome import OPTIMALITY_GAP, Outcome, relative_gap
from placer.solver.plain import search

if TYPE_CHECKING:
    from collections.abc import Callable

    from placer.index import ProblemIndex
    from placer.solver.exact.solve import FlowSolution
    from placer.solver.outcome import Status


def find(
    index: ProblemIndex,
    *,
    time_limit_s: float = 60.0,
    gap: float = OPTIMALITY_GAP,
    seed: int = 0,
    progress: Callable[[float, float], None] | None = None,
) -> Outcome:
    """Search for the best choice.

    Parameters
    ----------
    index
        The problem.
    time_limit_s, gap, seed, progress
        As `placer.solve.solve`.

    Returns
    -------
    Outcome
        With status, choices, bound and seconds.
    """
    if len(index.flows) == 1:
        return _of_one_flow(index, solve_flow(index, time_limit_s=time_limit_s, gap=gap, seed=seed, progress=progress))
    return search(
        index,
        starts=starting_choices(index),
        time_limit_s=time_limit_s,
        gap=gap,
        seed=seed,
        progress=progress,
    )


def _of_one_flow(index: ProblemIndex, found: FlowSolution) -> Outcome:
    """Judge the one-flow solver's choice once more: its claim counts only as far as `evaluate` confirms it."""
    if found.choice is None:
        return Outcome(found.status, None, None, found.bound, found.seconds, found.parts)
    choices = (found.choice,)
    evaluation = evaluate(index, choices)
    if not evaluation.feasible:
        raise AssertionError(f"the solver's choice breaks {evaluation.violations}")
    bound = min(found.bound, evaluation.objective)
    status: Status = "optimal" if relative_gap(evaluation.objective, bound) <= OPTIMALITY_GAP else "feasible"
    return Outcome(status, choices, evaluation, bound, found.seconds, found.parts)
