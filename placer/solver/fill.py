"""Choices to begin with where memory keeps all of a flow from being on one device: devices filled one by one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from placer.index import Choice, FlowIndex, ProblemIndex

_FRACTIONS = (1.0, 0.9, 0.8)
"""Shares of the memory that are filled: room for what is only counted roughly here, and for other cuts."""


def filled(index: ProblemIndex) -> Iterator[tuple[Choice, ...]]:
    """Put a problem's only flow onto its devices in the order of the data, the next one where memory is full.

    Devices come in the order of what an op costs there on average, in seconds or joules as the objective asks; one
    that has no option for an op is passed over for that op. What memory cannot hold in this way makes no choice.
    Whether a choice is allowed is for `evaluate` to say.

    Parameters
    ----------
    index
        A problem with one flow; without limits of memory there is nothing to fill.
    """
    flow = index.flows[0]
    rooms = [math.inf if d.memory_bytes is None else d.memory_bytes for d in index.devices]
    if all(room == math.inf for room in rooms):
        return
    workspace = max(op.workspace_bytes for op in flow.flow.ops)
    ranked = _ranked(index, flow)
    for order in (flow.topological, _depth_first(flow)):
        for fraction in _FRACTIONS:
            room = [r if r == math.inf else r * fraction - workspace for r in rooms]
            choice = _fill(index, flow, order, ranked, room)
            if choice is not None:
                yield (choice,)


def groups(flow: FlowIndex) -> tuple[tuple[int, ...], ...]:
    """For each op, the ops that share its device by a chain of `colocate` rules, itself among them, ascending."""
    together = [{v} for v in range(flow.size)]
    for names in flow.flow.colocate:
        members = {v for name in names for v in together[flow.position[name]]}
        for v in members:
            together[v] = members
    return tuple(tuple(sorted(members)) for members in together)


def _cost(index: ProblemIndex, flow: FlowIndex, v: int, o: int) -> float:
    """Seconds or joules of an option, as the objective asks."""
    option = flow.options[v][o]
    return option.seconds if index.problem.objective == "latency_s" else option.joules


def _ranked(index: ProblemIndex, flow: FlowIndex) -> list[int]:
    """Devices in the order of what the ops they can run cost there, beside what these cost at the cheapest."""
    here = [0.0] * len(index.devices)
    least = [0.0] * len(index.devices)
    for v in range(flow.size):
        costs: dict[int, float] = {}
        for o, option in enumerate(flow.options[v]):
            costs[option.device] = min(costs.get(option.device, math.inf), _cost(index, flow, v, o))
        for d, cost in costs.items():
            here[d] += cost
            least[d] += min(costs.values())
    return sorted(range(len(here)), key=lambda d: here[d] / least[d] if least[d] else math.inf)


def _depth_first(flow: FlowIndex) -> tuple[int, ...]:
    """Return the ops so that producers come before consumers, and branches one after the other."""
    waits = [len(p) for p in flow.predecessors]
    stack = [v for v in reversed(range(flow.size)) if not waits[v]]
    order = []
    while stack:
        v = stack.pop()
        order.append(v)
        for w in reversed(flow.successors[v]):
            waits[w] -= 1
            if not waits[w]:
                stack.append(w)
    return tuple(order)


def _fill(
    index: ProblemIndex, flow: FlowIndex, order: Sequence[int], ranked: Sequence[int], room: list[float]
) -> Choice | None:
    """Fill the devices in turn; None if some ops that go together fit nowhere."""
    group = groups(flow)
    place = [-1] * flow.size
    at = 0
    for v in order:
        if place[v] >= 0:
            continue
        need = sum(flow.flow.ops[w].weights_bytes for w in group[v])
        able = set.intersection(*({o.device for o in flow.options[w]} for w in group[v]))
        while at < len(ranked) - 1 and ranked[at] in able and room[ranked[at]] < need:
            at += 1
        device = next((d for d in (*ranked[at:], *ranked[:at]) if d in able and room[d] >= need), None)
        if device is None:
            return None
        room[device] -= need
        for w in group[v]:
            place[w] = device
    return tuple(
        min(
            (o for o, option in enumerate(flow.options[v]) if option.device == place[v]),
            key=lambda o, v=v: _cost(index, flow, v, o),  # type: ignore[misc]
        )
        for v in range(flow.size)
    )
