"""Takes back segments that are there for nothing: ops without work on a device that the flow could do without."""

from __future__ import annotations

from typing import TYPE_CHECKING

from placer.evaluate import combine, evaluate_flow

if TYPE_CHECKING:
    from placer.evaluate import Evaluation
    from placer.index import Choice, FlowIndex, ProblemIndex
    from placer.segments import Segment


def tidy(
    index: ProblemIndex, choices: tuple[Choice, ...], evaluation: Evaluation
) -> tuple[tuple[Choice, ...], Evaluation]:
    """Move every segment that takes no time to a neighbour's place, if the objective stays and a segment goes.

    Where starting is free and ops cost nothing, many plans are equally good; the one with fewer segments needs fewer
    agents and sessions.

    Parameters
    ----------
    index, choices, evaluation
        The problem, a feasible choice, and what `evaluate` says of it.

    Returns
    -------
    tuple
        A feasible choice whose objective is no larger, and its evaluation.
    """
    for f, flow in enumerate(index.flows):
        idle = [s for s in evaluation.flows[f].layout.segments if s.seconds == 0]
        for segment in idle:
            for place in _neighbours(flow, choices[f], segment):
                moved = _moved(flow, choices[f], segment, place)
                if moved is None:
                    continue
                trial = (*choices[:f], moved, *choices[f + 1 :])
                flows = list(evaluation.flows)
                flows[f] = evaluate_flow(index, flow, moved)
                found = combine(index, trial, flows)
                fewer = len(flows[f].layout.segments) < len(evaluation.flows[f].layout.segments)
                if found.feasible and fewer and found.objective <= evaluation.objective:
                    choices, evaluation = trial, found
                    break
    return choices, evaluation


def _neighbours(flow: FlowIndex, choice: Choice, segment: Segment) -> list[tuple[int, int]]:
    """Places (device, mode) of the ops before and after a segment, each once."""
    inside = set(segment.ops)
    around = (w for v in segment.ops for w in (*flow.predecessors[v], *flow.successors[v]) if w not in inside)
    options = (flow.options[w][choice[w]] for w in around if not flow.is_endpoint[w])
    return list(dict.fromkeys((o.device, o.mode) for o in options))


def _moved(flow: FlowIndex, choice: Choice, segment: Segment, place: tuple[int, int]) -> Choice | None:
    """Give a segment's ops the options of another place; None if one has none there."""
    changed = list(choice)
    for v in segment.ops:
        there = [o for o, option in enumerate(flow.options[v]) if (option.device, option.mode) == place]
        if not there:
            return None
        changed[v] = there[0]
    return tuple(changed)
