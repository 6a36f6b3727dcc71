"""Counts the segments of a flow inside the relaxation: ops less the edges of a forest inside segments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from placer.solver.spanning import fundamental_cycles, ops_between
from placer.solver.terms import Terms, add_to

if TYPE_CHECKING:
    from ortools.math_opt.python import mathopt

    from placer.solver.flow_relaxation import FlowRelaxation


def add_segments(flow: FlowRelaxation) -> None:
    """Begun_v,a = x_va - sum_u f_uv,a at a place a: ops less the edges of a forest inside segments.

    f_uv,a <= z_uv,aa; f_uv,a <= x_wa for w on a path from u to v; around a cycle one edge fewer than ops.
    """
    if not any(figure for start in flow.problem.start.values() for figure in start):
        return
    endpoint = flow.index.is_endpoint
    inside: dict[tuple[int, int], dict[tuple[int, int], mathopt.Variable]] = {}
    for v in range(flow.index.size):
        if endpoint[v]:
            continue
        for x, o in zip(flow.x[v], flow.index.options[v], strict=True):
            flow.begun[v][o.device, o.mode] = {x: 1.0}
        for u in flow.index.predecessors[v]:
            if not endpoint[u]:
                inside[u, v] = _inside(flow, u, v)
    for cycle in fundamental_cycles(flow.index):
        _cycle(flow, cycle, inside)
    for v in range(flow.index.size):
        for x, o in zip(flow.x[v], flow.index.options[v], strict=True):
            place, weight = (o.device, o.mode), flow.index.share[v]
            if place not in flow.begun[v]:
                continue
            start_s, start_j = flow.problem.start[place]
            joules: Terms = {x: weight}
            for u in flow.index.predecessors[v]:
                # The larger share keeps this a lower bound on the largest share of each segment.
                larger = max(flow.index.share[u], weight)
                if (f := inside.get((u, v), {}).get(place)) is not None:
                    add_to(joules, [(f, -larger)])
            add_to(flow.energy[o.device], joules.items(), start_j * flow.scale.energy)
            add_to(flow.device_s[o.device], joules.items(), start_s * flow.scale.time)
            add_to(flow.serial, flow.begun[v][place].items(), start_s * flow.scale.time)


def _inside(flow: FlowRelaxation, u: int, v: int) -> dict[tuple[int, int], mathopt.Variable]:
    """Variables f_uv by place (device, mode), with their bounds by z and by the ops between u and v."""
    found: dict[tuple[int, int], mathopt.Variable] = {}
    between = ops_between(flow.index, u, v)
    for (a, b), z in flow.pair[u, v].items():
        left, right = flow.index.options[u][a], flow.index.options[v][b]
        place = (left.device, left.mode)
        if place != (right.device, right.mode):
            continue
        f = flow.model.add_variable(lb=0.0, ub=1.0)
        found[place] = f
        flow.parent.row({z: 1.0, f: -1.0}, lower=0.0)
        for w in between:
            terms: Terms = {f: -1.0}
            same = [x for x, o in zip(flow.x[w], flow.index.options[w], strict=True) if (o.device, o.mode) == place]
            add_to(terms, [(x, 1.0) for x in same])
            flow.parent.row(terms, lower=0.0)
        add_to(flow.begun[v][place], [(f, -1.0)])
    return found


def _cycle(
    flow: FlowRelaxation, cycle: tuple[int, ...], inside: dict[tuple[int, int], dict[tuple[int, int], mathopt.Variable]]
) -> None:
    """sum_{e in cycle} f_e,a <= sum_{v in cycle} x_va - x_ra, for r at the top and the bottom of the cycle."""
    ring = list(zip(cycle, (*cycle[1:], cycle[0]), strict=True))
    edges = [(u, v) if (u, v) in inside else (v, u) for u, v in ring]
    places = set.intersection(*(set(inside[e]) for e in edges))
    rank = {v: i for i, v in enumerate(flow.index.topological)}
    roots = {min(cycle, key=lambda v: rank[v]), max(cycle, key=lambda v: rank[v])}
    for place in places:
        for root in roots:
            terms: Terms = {}
            add_to(terms, [(inside[e][place], -1.0) for e in edges])
            for v in cycle:
                if v != root:
                    xs = zip(flow.x[v], flow.index.options[v], strict=True)
                    add_to(terms, [(x, 1.0) for x, o in xs if (o.device, o.mode) == place])
            flow.parent.row(terms, lower=0.0)
