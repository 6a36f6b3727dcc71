"""Keeps deadlines after pauses: seconds that the fast solvers know nothing of, since they are not linear in bytes.

Without those deadlines the problem is as any other: its bound holds, and mostly its choice too. Where that choice is
late, links are made slower by what held its messages back, until the choice found is in time. That finds one, and may
pass over better ones; the MILP then knows the least seconds of each message, cuts what is wrong, and so has the proof.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from placer import rules
from placer.connections import messages
from placer.evaluate import evaluate
from placer.index import ProblemIndex
from placer.solver.plain import is_small, search

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from placer.evaluate import Evaluation
    from placer.problem import Problem
    from placer.solver.known import Known
    from placer.solver.outcome import Outcome

    Progress = Callable[[float, float], None]
    # A problem without deadlines after pauses, and the seconds there are.
    Find = Callable[[ProblemIndex, float], Outcome]

_SLOWER_S = 1 / 2
"""Part of the time that the search for a choice has at the most, where the proof is still to come."""
_FIRST_S = 8.0
"""Seconds of the MILP's first turn."""
_GROWTH = 4


def find_after_pauses(
    index: ProblemIndex, known: Known, find: Find, time_limit_s: float, seed: int, progress: Progress | None
) -> None:
    """Search for the best choice of a problem with deadlines after pauses.

    Parameters
    ----------
    index
        The problem.
    known
        What is found and proven is joined here.
    find
        Answers the same problem without those deadlines.
    time_limit_s, seed, progress
        As `placer.solver.solve.solve`.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C, once what is known has been joined.
    """
    small = is_small(index)
    _slow_down(index, known, find, time_limit_s * (_SLOWER_S if small else 1.0))
    turn_s = _FIRST_S
    while small and not known.done() and (left_s := time_limit_s - known.seconds()) > 0:
        for backend in ("highs", "cp-sat"):
            known.join(
                search(
                    index,
                    starts=[known.best.choices] if known.best.choices else [],
                    backend=backend,
                    time_limit_s=min(turn_s, left_s),
                    gap=known.gap,
                    seed=seed + known.best.rounds,
                    progress=None if progress is None else lambda best, low: progress(best, max(low, known.best.bound)),
                )
            )
            left_s = time_limit_s - known.seconds()
            if known.done() or left_s <= 0:
                return
        turn_s *= _GROWTH


def _slow_down(index: ProblemIndex, known: Known, find: Find, time_limit_s: float) -> None:
    """Find a choice in time by making links slower; the first answer, of links as they are, bounds all choices."""
    capped = index.problem.limits.deadline_after_pauses_s
    free = rules.without(index.problem, {rules.deadline_after_pauses(flow) for flow in capped})
    factor = [1.0] * len(index.media)
    first = True
    while (left_s := time_limit_s - known.seconds()) > 0:
        found = find(ProblemIndex(_slower(free, index, factor)), left_s)
        # With slower links it is another problem, of which only the choice counts here.
        counts = found if first else replace(found, bound=0.0)
        if found.choices is None:
            if first:
                known.join(found)
            return
        judged = evaluate(index, found.choices)
        if judged.feasible:
            known.join(replace(counts, status="feasible", evaluation=judged))
            return
        known.join(replace(counts, status="unknown", choices=None, evaluation=None))
        needed = _needed(index, judged)
        if all(needed[m] <= factor[m] for m in range(len(factor))):
            return
        factor = list(map(max, factor, needed))
        first = False


def _needed(index: ProblemIndex, judged: Evaluation) -> list[float]:
    """Say how many times slower each queue would have to be for its messages to take as long as after pauses."""
    factor = [1.0] * len(index.media)
    for flow, result in zip(index.flows, judged.flows, strict=True):
        if result.paused is None:
            continue
        layout = result.paused.layout
        for message in messages(flow, layout):
            parts = [layout.transfers[i] for i in message]
            k = parts[0].link
            seconds = sum(x.bytes for x in parts) / index.links[k].bytes_per_s
            if seconds > 0:
                m = index.medium_of[k]
                factor[m] = max(factor[m], 1 + sum(x.held_s for x in parts) / seconds)
    return factor


def _slower(problem: Problem, index: ProblemIndex, factor: Sequence[float]) -> Problem:
    """Make links slower, and let them be used as much longer: all that changes is when messages arrive."""
    links = tuple(
        msgspec.structs.replace(k, bytes_per_s=k.bytes_per_s / factor[m], max_utilization=k.max_utilization * factor[m])
        for k, m in zip(problem.links, index.medium_of, strict=True)
    )
    return msgspec.structs.replace(problem, links=links)
