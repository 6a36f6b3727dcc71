"""Bounds the latency of a flow inside the relaxation: by paths, and by each device's load in each block."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from placer.solver.terms import SLACK, Terms, add_to

if TYPE_CHECKING:
    from placer.solver.flow_relaxation import FlowRelaxation


def needs_latency(flow: FlowRelaxation) -> bool:
    """Tell whether anything in the problem depends on this flow's latency."""
    waits = any(flow.problem.devices[d].wait_w for d in flow.index.source_devices)
    return waits or flow.index.flow.deadline_s is not None or flow.problem.problem.objective == "latency_s"


def add_latency(flow: FlowRelaxation) -> None:
    """Bound the latency from below by paths and by each device's load in each block; charge the waiting."""
    if flow.index.flow.latency == "serial":
        flow.latency = dict(flow.serial)
    else:
        end = flow.parent.amount()
        flow.latency = {end: 1.0}
        flow.time = [flow.parent.amount() for _ in range(flow.index.size)]
        for v in range(flow.index.size):
            if not flow.index.successors[v]:
                flow.parent.row({end: 1.0, flow.time[v]: -1.0}, lower=0.0)
            _paths(flow, v)
        _loads(flow)
    deadline = flow.index.flow.deadline_s
    if deadline is not None:
        flow.parent.row(flow.latency, upper=deadline * flow.scale.time * (1 + SLACK))
    for d in flow.index.source_devices:
        wait = flow.problem.devices[d].wait_w * flow.scale.energy / flow.scale.time
        if wait:
            # Idle seconds >= latency - seconds at work; a variable, so that no joules are ever taken off again.
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
                add_to(longer, flow.begun[v].get(d, {}).items(), flow.problem.devices[d].segment_s * flow.scale.time)
            flow.parent.row(longer, lower=0.0)
            add_to(flow.energy[d], [(idle, 1.0)], wait)


def _paths(flow: FlowRelaxation, v: int) -> None:
    """T_v >= T_u + sum_ab z_uv,ab (delay_ab + segment_s_b if places differ) + sum_b s_vb x_vb."""
    work: Terms = {}
    begin: defaultdict[int, float] = defaultdict(float)
    for b, o in enumerate(flow.index.options[v]):
        add_to(work, [(flow.x[v][b], -o.seconds * flow.scale.time)])
        begin[o.device] = 0.0 if flow.index.is_endpoint[v] else flow.problem.devices[o.device].segment_s
    if not flow.index.predecessors[v]:
        first: Terms = {flow.time[v]: 1.0, **work}
        add_to(first, [(flow.x[v][b], -begin[o.device] * flow.scale.time) for b, o in enumerate(flow.index.options[v])])
        flow.parent.row(first, lower=0.0)
    for u in flow.index.predecessors[v]:
        terms: Terms = {flow.time[v]: 1.0, flow.time[u]: -1.0}
        add_to(terms, work.items())
        for (a, b), z in flow.pair[u, v].items():
            left, right = flow.index.options[u][a], flow.index.options[v][b]
            delay = delay_s(flow, u, v, a, b)
            if (left.device, left.mode) != (right.device, right.mode) or flow.index.is_endpoint[u]:
                delay += begin[right.device]
            add_to(terms, [(z, -delay * flow.scale.time)])
        flow.parent.row(terms, lower=0.0)


def delay_s(flow: FlowRelaxation, u: int, v: int, a: int, b: int) -> float:
    """Seconds from u's end until v has all of u's tensors it needs, on links and device otherwise empty."""
    left, right = flow.index.options[u][a], flow.index.options[v][b]
    shared = [t for t in flow.index.outputs[u] if v in flow.index.tensors[t].consumers]
    if left.device != right.device:
        link = flow.problem.links[flow.problem.link_at[left.device, right.device]]
        return link.latency_s + sum(flow.index.bytes_of(t, a) for t in shared) / link.bytes_per_s
    if left.mode == right.mode:
        return 0.0
    s_per_byte, _ = flow.problem.conversion.get((left.device, left.mode, right.mode), (0.0, 0.0))
    return max((s_per_byte * flow.index.bytes_of(t, a) for t in shared), default=0.0)


def _loads(flow: FlowRelaxation) -> None:
    """Time of a block >= load of each device in it + time of the closing separator, wherever that runs."""
    for k, block in enumerate(flow.blocks):
        for d, device in enumerate(flow.problem.devices):
            terms = flow.block_time(k)
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
            add_to(terms, flow.block_begun(k, d).items(), -device.segment_s * flow.scale.time)
            flow.parent.row(terms, lower=0.0)
