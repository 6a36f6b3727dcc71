"""Lets the searches for one flow take turns: each knows cases that the others do not see the end of."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from placer.baselines import starting_choices
from placer.evaluate import evaluate
from placer.solver.blocks import blocks_of
from placer.solver.exact.solve import solve_flow
from placer.solver.fill import filled
from placer.solver.improve import improve
from placer.solver.outcome import OPTIMALITY_GAP, Outcome, relative_gap
from placer.solver.plain import Backend, is_small, search

if TYPE_CHECKING:
    from collections.abc import Callable

    from placer.index import FlowIndex, ProblemIndex
    from placer.solver.exact.solve import FlowSolution
    from placer.solver.known import Known
    from placer.solver.outcome import Status

_FIRST_S = 2.0
"""Seconds of the first turns: whoever has the very first is nearly always done by then, or the case is odd."""

_GROWTH = 4
"""How much longer the turns of a round are than those of the round before."""

_KNOTS = 10
"""Ops between two separators that split or join data, from which on the one-flow solver does not see through."""


def find_one_flow(
    index: ProblemIndex,
    known: Known,
    time_limit_s: float,
    seed: int,
    progress: Callable[[float, float], None] | None,
) -> None:
    """Let the searches take turns, each round of them longer, until one has the proof.

    The one-flow solver is much faster nearly always. Where many ops split and join data without a separator between,
    its bounds are weak and CP-SAT, and sometimes HiGHS, prove in a second what it cannot in a minute; where a limit
    lies a hair below what some choice reaches, their cuts settle what its branches do not. On equal devices moving a
    few ops finds good plans long before any of them. All bounds are valid, so the best choice and the best bound of
    any count, and each begins from the best choice of all.

    Parameters
    ----------
    index
        A problem with one flow.
    known
        What is found and proven is joined here.
    time_limit_s, seed, progress
        As `placer.solver.solve.solve`.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C, once what is known has been joined.
    """
    tangled = _is_tangled(index.flows[0])
    known.offer(index, starting_choices(index))
    if tangled:
        known.offer(index, filled(index))
    if known.done():
        return

    def exact(turn_s: float) -> Outcome:
        # A mere baseline is no help: the first way that it finds is nearly always better.
        start = known.best.choices[0] if known.best.choices and known.best.rounds else None
        found = solve_flow(index, start=start, time_limit_s=turn_s, gap=known.gap, seed=seed, progress=progress)
        return _judged(index, found)

    def milp(turn_s: float, backend: Backend) -> Outcome:
        starts = [known.best.choices] if known.best.choices else []
        return search(
            index,
            starts=starts,
            backend=backend,
            time_limit_s=turn_s,
            gap=known.gap,
            seed=seed + known.best.rounds,
            progress=progress,
        )

    def moves(turn_s: float) -> Outcome:
        if not tangled:
            known.offer(index, filled(index))
        if known.best.choices is None:
            return known.best
        return improve(index, known.best.choices, time_limit_s=turn_s, seed=seed + known.best.rounds)

    highs, cp_sat = partial(milp, backend="highs"), partial(milp, backend="cp-sat")
    turns: tuple[Callable[[float], Outcome], ...]
    if not is_small(index):
        # A turn that ends without a proof is lost on a search that begins anew in its next: let one be long.
        turns, turn_s = ((moves, exact), time_limit_s / 2) if tangled else ((exact, moves), time_limit_s * 3 / 4)
    elif tangled:
        turns, turn_s = (cp_sat, moves, highs, exact), 2 * _FIRST_S
    else:
        turns, turn_s = (exact, moves, highs, cp_sat), _FIRST_S
    while True:
        for turn in turns:
            left_s = time_limit_s - known.seconds()
            if left_s <= 0:
                return
            known.join(turn(min(turn_s, left_s)))
            if known.done():
                return
        turn_s *= _GROWTH


def _is_tangled(flow: FlowIndex) -> bool:
    """Whether between two separators many ops split or join data."""
    return any(
        sum(len(flow.predecessors[v]) > 1 or len(flow.successors[v]) > 1 for v in block.inner) >= _KNOTS
        for block in blocks_of(flow)
    )


def _judged(index: ProblemIndex, found: FlowSolution) -> Outcome:
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
