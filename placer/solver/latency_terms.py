"""Bounds the latency of a flow inside the relaxation: by paths, and by each device's load in each block."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from placer.connections import least_held_s, path_of
from placer.solver.terms import SLACK, Terms, add_to

if TYPE_CHECKING:
    from ortools.math_opt.python import mathopt

    from placer.solver.flow_relaxation import FlowRelaxation
    from placer.transfer_time import Connections


@dataclass(frozen=True, slots=True)
class Clock:
    """When each op of a flow is done at the earliest, and the flow, on connections of one state."""

    connections: Connections
    latency: Terms
    time: list[mathopt.Variable] = field(default_factory=list)
    """Empty where latency is a sum and not a schedule."""


def add_latency(flow: FlowRelaxation) -> None:
    """Bound the latency from below, on busy connections and on paused ones where a deadline asks for it."""
    deadline_s = flow.index.flow.deadline_s
    after_pauses_s = flow.problem.problem.limits.deadline_after_pauses_s.get(flow.index.name)
    waits = any(flow.problem.devices[d].wait_w for d in flow.index.source_devices)
    told = waits or flow.problem.problem.objective == "latency_s"
    # Of two limits one clock is enough: what is in time after pauses is hardly ever late without, and evaluated anyway.
    if told or (deadline_s is not None and (after_pauses_s is None or after_pauses_s > deadline_s)):
        busy = _clock(flow, "busy")
        flow.latency = busy.latency
        _cap(flow, busy, deadline_s)
        _waiting(flow)
    if after_pauses_s is not None:
        _cap(flow, _clock(flow, "paused"), after_pauses_s)


def _clock(flow: FlowRelaxation, connections: Connections) -> Clock:
    """Bound the latency from below by paths and by each device's load in each block."""
    if flow.index.flow.latency == "serial":
        clock = Clock(connections, dict(flow.serial))
    else:
        end = flow.parent.amount()
        clock = Clock(connections, {end: 1.0}, [flow.parent.amount() for _ in range(flow.index.size)])
        for v in range(flow.index.size):
            if not flow.index.successors[v]:
                flow.parent.row({end: 1.0, clock.time[v]: -1.0}, lower=0.0)
            _paths(flow, clock, v)
        _loads(flow, clock)
    flow.clocks.append(clock)
    return clock


def _cap(flow: FlowRelaxation, clock: Clock, deadline_s: float | None) -> None:
    if deadline_s is not None:
        flow.parent.row(clock.latency, upper=deadline_s * flow.scale.time * (1 + SLACK))


def _waiting(flow: FlowRelaxation) -> None:
    """Charge the waiting: idle seconds >= latency - seconds at work."""
    for d in flow.index.source_devices:
        wait = flow.problem.devices[d].wait_w * flow.scale.energy / flow.scale.time
        if wait:
            # A variable, so that no joules are ever taken off again.
            idle = flow.parent.amount()
            longer: Terms = {idle: 1.0}
            add_to(longer, flow.latency.items(), -1.0)
            for v in range(flow.index.size):
                add_to(
                    longer,
                    [
                        (x, o.seconds * flow.scale.time)
                        for x, o in zip(flow.x[v], flow.index.options[v], strict=True)
                        if o.device == d
                    ],
                )
            add_to(longer, flow.begun_s(range(flow.index.size), d).items(), flow.scale.time)
            flow.parent.row(longer, lower=0.0)
            add_to(flow.energy[d], [(idle, 1.0)], wait)


def _paths(flow: FlowRelaxation, clock: Clock, v: int) -> None:
    """T_v >= T_u + sum_ab z_uv,ab (delay_ab + segment_s_b if places differ) + sum_b s_vb x_vb."""
    work: Terms = {}
    begin: dict[tuple[int, int], float] = {}
    for b, o in enumerate(flow.index.options[v]):
        add_to(work, [(flow.x[v][b], -o.seconds * flow.scale.time)])
        place = (o.device, o.mode)
        begin[place] = 0.0 if flow.index.is_endpoint[v] else flow.problem.start[place][0]
    if not flow.index.predecessors[v]:
        first: Terms = {clock.time[v]: 1.0, **work}
        starts = [(x, -begin[o.device, o.mode]) for x, o in zip(flow.x[v], flow.index.options[v], strict=True)]
        add_to(first, starts, flow.scale.time)
        flow.parent.row(first, lower=0.0)
    for u in flow.index.predecessors[v]:
        terms: Terms = {clock.time[v]: 1.0, clock.time[u]: -1.0}
        add_to(terms, work.items())
        for (a, b), z in flow.pair[u, v].items():
            left, right = flow.index.options[u][a], flow.index.options[v][b]
            delay = delay_s(flow, u, v, a, b, clock.connections)
            if (left.device, left.mode) != (right.device, right.mode) or flow.index.is_endpoint[u]:
                delay += begin[right.device, right.mode]
            add_to(terms, [(z, -delay * flow.scale.time)])
        flow.parent.row(terms, lower=0.0)


def delay_s(flow: FlowRelaxation, u: int, v: int, a: int, b: int, connections: Connections = "busy") -> float:
    """Seconds from u's end until v has all of u's tensors it needs, at least: on links and device otherwise empty."""
    left, right = flow.index.options[u][a], flow.index.options[v][b]
    shared = [t for t in flow.index.outputs[u] if v in flow.index.tensors[t].consumers]
    if left.device != right.device:
        k = flow.problem.link_at[left.device, right.device]
        link, size = flow.problem.links[k], sum(flow.index.bytes_of(t, a) for t in shared)
        held_s = 0.0
        if connections == "paused":
            held_s = least_held_s(flow.index, path_of(flow.problem, k), size, flow.most_bytes(v))
        return link.latency_s + held_s + size / link.bytes_per_s
    if left.mode == right.mode:
        return 0.0
    s_per_byte, _ = flow.problem.conversion.get((left.device, left.mode, right.mode), (0.0, 0.0))
    return max((s_per_byte * flow.index.bytes_of(t, a) for t in shared), default=0.0)


def _loads(flow: FlowRelaxation, clock: Clock) -> None:
    """Time of a block >= load of each device in it + time of the closing separator, wherever that runs."""
    for k, block in enumerate(flow.blocks):
        for d in range(len(flow.problem.devices)):
            terms = flow.block_time(k, clock)
            for v in block.inner:
                add_to(
                    terms,
                    [
                        (x, -o.seconds * flow.scale.time)
                        for x, o in zip(flow.x[v], flow.index.options[v], strict=True)
                        if o.device == d
                    ],
                )
            if block.end >= 0:
                add_to(
                    terms,
                    [
                        (x, -o.seconds * flow.scale.time)
                        for x, o in zip(flow.x[block.end], flow.index.options[block.end], strict=True)
                    ],
                )
            add_to(terms, flow.begun_s(block.ops, d).items(), -flow.scale.time)
            flow.parent.row(terms, lower=0.0)
