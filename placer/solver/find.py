"""Sends a problem to the solver that suits it; every search of the package begins here."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from placer.baselines import starting_choices
from placer.evaluate import evaluate
from placer.solver.exact.solve import solve_flow
from placer.solver.many.solve import solve_flows
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

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C ended the search before it had a choice to return.
    """
    known = _Known(gap)
    turns = _one_flow if len(index.flows) == 1 else _many_flows
    try:
        turns(index, known, time_limit_s, seed, progress)
    except KeyboardInterrupt:
        if known.best.evaluation is None:
            raise
        return replace(known.best, interrupted=True)
    return known.best


class _Known:
    """What the searches of one problem have found and proven together."""

    def __init__(self, gap: float) -> None:
        self.gap = gap
        self.begin_s = time.monotonic()
        self.best = Outcome("unknown", None, None, 0.0, 0.0, 0)

    def seconds(self) -> float:
        return time.monotonic() - self.begin_s

    def join(self, found: Outcome) -> None:
        """Keep the better choice and the higher bound; pass a Ctrl-C on that a search answered by ending early."""
        self.best = _better(self.best, found, self.seconds())
        if found.interrupted:
            raise KeyboardInterrupt

    def done(self) -> bool:
        close = self.best.gap is not None and self.best.gap <= self.gap
        return close or self.best.status in ("optimal", "infeasible")


_FIRST_S = 2.0
"""Seconds that the one-flow solver has before the MILP gets a turn: it is done by then, or the case is odd."""

_PAIRS = 50_000
"""Pairs of options, over all edges, up to which the MILP is worth building."""


def _one_flow(
    index: ProblemIndex,
    known: _Known,
    time_limit_s: float,
    seed: int,
    progress: Callable[[float, float], None] | None,
) -> None:
    """Let the one-flow solver and the MILP take turns, each four times as long as before, until one has the proof.

    The one-flow solver is much faster nearly always; where a limit lies a hair below what some choice reaches, the
    MILP's cuts can settle in a second what the other's branches cannot in a minute. Bounds of both are valid, so
    the best choice and the best bound of either count.
    """
    gap = known.gap
    flow = index.flows[0]
    pairs = sum(len(flow.options[u]) * len(flow.options[v]) for v in range(flow.size) for u in flow.predecessors[v])
    left_s = time_limit_s
    turn_s = min(left_s, _FIRST_S) if pairs <= _PAIRS else left_s
    _offer_baselines(index, known)
    exact = True
    while True:
        if exact:
            found = _of_one_flow(index, solve_flow(index, time_limit_s=turn_s, gap=gap, seed=seed, progress=progress))
        else:
            starts = [*starting_choices(index), *([known.best.choices] if known.best.choices else [])]
            found = search(index, starts=starts, time_limit_s=turn_s, gap=gap, seed=seed, progress=progress)
        known.join(found)
        left_s = time_limit_s - known.seconds()
        if known.done() or left_s <= 0:
            return
        if not exact:
            turn_s *= 4
        turn_s, exact = min(turn_s, left_s), not exact


def _offer_baselines(index: ProblemIndex, known: _Known) -> None:
    """Begin with the best of the baselines, without a bound: a search that is cut short has at least that."""
    for choices in starting_choices(index):
        evaluation = evaluate(index, choices)
        if evaluation.feasible:
            known.join(Outcome("feasible", choices, evaluation, 0.0, 0.0, 0))


def _many_flows(
    index: ProblemIndex,
    known: _Known,
    time_limit_s: float,
    seed: int,
    progress: Callable[[float, float], None] | None,
) -> None:
    """Let the MILP try small sites first, which it mostly proves at once; then the solver of whole sites."""
    pairs = sum(
        len(flow.options[u]) * len(flow.options[v])
        for flow in index.flows
        for v in range(flow.size)
        for u in flow.predecessors[v]
    )
    if pairs <= _PAIRS:
        starts = starting_choices(index)
        turn_s = min(time_limit_s, 2 * _FIRST_S)
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


def _better(known: Outcome, found: Outcome, seconds: float) -> Outcome:
    """Join what two searches of the same problem know: the better choice, the higher bound."""
    if found.status == "infeasible":
        # A choice that the referee accepts refutes any claim that there is none.
        return replace(found if known.evaluation is None else known, seconds=seconds)
    bound, rounds = max(known.bound, found.bound), known.rounds + found.rounds
    ahead = found.evaluation is not None and (
        known.evaluation is None or found.evaluation.objective < known.evaluation.objective
    )
    choices, evaluation = (found.choices, found.evaluation) if ahead else (known.choices, known.evaluation)
    if evaluation is None:
        return Outcome("unknown", None, None, bound, seconds, rounds)
    bound = min(bound, evaluation.objective)
    status: Status = "optimal" if relative_gap(evaluation.objective, bound) <= OPTIMALITY_GAP else "feasible"
    return Outcome(status, choices, evaluation, bound, seconds, rounds)


def _of_one_flow(index: ProblemIndex, found: FlowSolution) -> Outcome:
    """Judge the one-flow solver's choice once more: its claim counts only as far as `evaluate` confirms it."""
    last = (found.seconds, found.parts, found.interrupted)
    if found.choice is None:
        return Outcome(found.status, None, None, found.bound, *last)
    choices = (found.choice,)
    evaluation = evaluate(index, choices)
    if not evaluation.feasible:
        raise AssertionError(f"the solver's choice breaks {evaluation.violations}")
    bound = min(found.bound, evaluation.objective)
    status: Status = "optimal" if relative_gap(evaluation.objective, bound) <= OPTIMALITY_GAP else "feasible"
    return Outcome(status, choices, evaluation, bound, *last)
