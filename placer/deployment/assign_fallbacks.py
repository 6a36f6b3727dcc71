"""A plan with its fallbacks as one deployment: each device's share carries what it does while something is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from placer.deployment.assign import assign
from placer.deployment.deployment import Deployment
from placer.fallbacks import variant, warm
from runtimes.assignment import Assignment, Fallback

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from placer.models.flow_graph import FlowGraph
    from placer.plan import Plan


def assign_all(plan: Plan, graphs: Mapping[str, FlowGraph], *, epoch: int = 1, threads: int = 1) -> Deployment:
    """Cut the models of a plan and of its fallbacks; arguments and errors as `assign`."""
    base = assign(plan, graphs, epoch=epoch, threads=threads)
    if not plan.fallbacks:
        return base
    cut = [
        (fallback, assign(variant(plan, fallback), graphs, epoch=epoch, threads=threads) if fallback.flows else None)
        for fallback in plan.fallbacks
    ]
    fitting = warm(plan)
    shares = {}
    for device in plan.problem.devices:
        given: list[Fallback] = []
        for fallback, deployment in cut:
            share = None if deployment is None else deployment.assignments.get(device.name)
            unserved = {u.flow: u.reason for u in fallback.unserved}
            if share is not None or unserved:
                is_warm = fallback.lost in fitting[device.name]
                given.append(Fallback(lost=fallback.lost, assignment=share, warm=is_warm, unserved=unserved))
        own = base.assignments.get(device.name) or _nothing(base, device.name, given)
        if own is not None:
            shares[device.name] = msgspec.structs.replace(own, fallbacks=tuple(given))
    blobs = {sha256: data for d in (base, *(d for _, d in cut if d is not None)) for sha256, data in d.blobs.items()}
    return Deployment(plan=base.plan, epoch=epoch, assignments=shares, blobs=blobs)


def _nothing(base: Deployment, device: str, given: Sequence[Fallback]) -> Assignment | None:
    """Give the share of a device that has a part in fallbacks alone; None if in none."""
    sizes = [fallback.assignment.max_message_bytes for fallback in given if fallback.assignment is not None]
    if not sizes:
        return None
    return Assignment(
        plan=base.plan, epoch=base.epoch, device=device, flows=(), segments=(), routes=(), peers={},
        max_message_bytes=max(sizes),
    )  # fmt: skip
