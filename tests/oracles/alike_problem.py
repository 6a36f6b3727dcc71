"""Random small problems in which two or three devices are alike, for what searches leave out because of it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tests.oracles.brute_force import with_caps
from tests.oracles.random_problem import random_problem

if TYPE_CHECKING:
    from placer.problem import Link, Op, Problem


def alike_problem(seed: int, *, ops: int) -> Problem:
    """Draw a problem with caps, whose devices d1 and d2, and d0 too in some, differ by name alone.

    Sources and sinks stay where they are: their devices are like no other.
    """
    rng = random.Random(seed)
    problem = random_problem(seed, ops=ops, modes=rng.choice([1, 1, 2]), shares=rng.random() < 0.3, scarce=0.05)
    if rng.random() < 0.8:
        problem = with_caps(problem, rng)
    if rng.random() < 0.3:
        problem = replace(problem, objective="latency_s")
    same = ("d1", "d2") if rng.random() < 0.6 else ("d0", "d1", "d2")
    names = [d.name for d in problem.devices]
    model = next(d for d in problem.devices if d.name == same[0])
    figures = {(k.source, k.target): k for k in problem.links}

    def link(source: str, target: str) -> Link | None:
        inside = source in same and target in same
        pair = (same[0], same[1]) if inside else tuple(same[0] if n in same else n for n in (source, target))
        found = figures.get(pair)  # type: ignore[call-overload]
        medium = rng.choice([None, None, None, "air"])
        return None if found is None else replace(found, source=source, target=target, medium=medium)

    def spread(op: Op) -> Op:
        first = [o for o in op.options if o.device == same[0]]
        if len(op.options) == 1 or not first:
            return op
        others = [o for o in op.options if o.device not in same]
        return replace(op, options=(*others, *(replace(o, device=d) for d in same for o in first)))

    (flow,) = problem.flows
    tensors = tuple(
        replace(t, not_on=tuple(d for d in names if (same[0] if d in same else d) in t.not_on)) for t in flow.tensors
    )
    power_w = dict(problem.limits.power_w)
    for name in same:
        power_w.pop(name, None)
        if same[0] in problem.limits.power_w:
            power_w[name] = problem.limits.power_w[same[0]]
    return replace(
        problem,
        devices=tuple(replace(model, name=d.name) if d.name in same else d for d in problem.devices),
        links=tuple(k for a in names for b in names if a != b and (k := link(a, b)) is not None),
        flows=(replace(flow, ops=tuple(map(spread, flow.ops)), tensors=tensors),),
        limits=replace(problem.limits, power_w=power_w),
    )
