"""Problems whose numbers lie many powers of ten apart, which is where MILP solvers call worse plans optimal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    import random

    from placer.problem import Problem


def stretched(problem: Problem, rng: random.Random) -> Problem:
    """Multiply times, joules, bytes and rates by 1e-9 to 1e6, and single figures by as much again."""

    def factor() -> float:
        return 10.0 ** rng.choice([-9, -6, -3, 0, 0, 0, 3, 6])

    def some() -> float:
        return factor() if rng.random() < 0.3 else 1.0

    time, energy, size, rate = factor(), factor(), factor(), factor()
    devices = tuple(
        replace(
            d,
            idle_w=(d.idle_w or 0.0) * some(),
            segment_s=d.segment_s * time * some(),
            segment_j=d.segment_j * energy * some(),
            starts=tuple(
                replace(x, segment_s=x.segment_s * time * some(), segment_j=x.segment_j * energy * some())
                for x in d.starts
            ),
            wait_w=d.wait_w * some(),
        )
        for d in problem.devices
    )
    links = tuple(
        replace(
            k,
            latency_s=k.latency_s * time * some(),
            bytes_per_s=k.bytes_per_s * some(),
            energy_j_per_byte=k.energy_j_per_byte * energy * some(),
            tail_j=k.tail_j * energy * some(),
        )
        for k in problem.links
    )
    flows = []
    for flow in problem.flows:
        ops = []
        for op in flow.ops:
            slower, dearer = some(), some()
            options = (
                replace(o, seconds=o.seconds * time * slower, joules=o.joules * energy * dearer) for o in op.options
            )
            ops.append(replace(op, options=tuple(options)))
        tensors = tuple(replace(t, bytes=t.bytes * size) for t in flow.tensors)
        flows.append(replace(flow, rate_hz=flow.rate_hz * rate, ops=tuple(ops), tensors=tensors))
    return replace(problem, devices=devices, links=links, flows=tuple(flows))
