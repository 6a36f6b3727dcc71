"""Why there is no plan: a set of rules that cannot hold together, none of which can be left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from placer import rules
from placer.index import ProblemIndex
from placer.solver.plain import search

if TYPE_CHECKING:
    from placer.problem import Problem


def find_conflict(problem: Problem, *, time_limit_s: float = 30.0) -> tuple[str, ...]:
    """Name a minimal set of rules in conflict, by giving up one after another (deletion filter).

    Parameters
    ----------
    problem
        A problem without a plan.
    time_limit_s
        Seconds for each of the searches; a rule whose search does not end in time is kept in the set.

    Returns
    -------
    tuple of str
        Rules as named by `placer.rules`, or what the devices and links themselves make impossible.
    """
    for flow in problem.flows:
        for op in flow.ops:
            if not op.options:
                return (f"op {op.name!r} of flow {flow.name!r} has no option: no device can run it",)
    every = rules.names(problem)
    if _impossible(rules.without(problem, every), time_limit_s):
        return ("the links: no choice of options is joined by them, even with every rule given up",)
    kept = list(every)
    # Give up halves first: most rules have nothing to do with the conflict.
    chunk = max(1, len(kept) // 2)
    while chunk:
        position = 0
        while position < len(kept):
            trial = kept[:position] + kept[position + chunk :]
            given_up = set(every) - set(trial)
            if _impossible(rules.without(problem, given_up), time_limit_s):
                kept = trial
            else:
                position += chunk
        chunk = chunk // 2
    return tuple(kept)


def _impossible(problem: Problem, time_limit_s: float) -> bool:
    """Whether it is proven that there is no plan."""
    # Any plan will do: a gap of 1 ends the search at the first one found.
    return search(ProblemIndex(problem), gap=1.0, time_limit_s=time_limit_s).status == "infeasible"
