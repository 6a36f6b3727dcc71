"""What releases each tensor of a plan on its way, and so which tensors travel in one message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from placer.ends import is_source
from placer.models.flow_graph import condition_op, lookup_op, whole_op

if TYPE_CHECKING:
    from placer.plan import Plan


def released_by(plan: Plan, flow: str) -> dict[str, str]:
    """Say after what each tensor of a flow leaves the device that has it.

    Parameters
    ----------
    plan
        The plan.
    flow
        The flow's name.

    Returns
    -------
    dict
        By tensor, the segment that makes it; the condition that lets it go on; ``""`` for data of the flow's source.
    """
    segment_of = {op: s.name for s in plan.flow(flow).segments for op in s.ops}
    conditions = conditions_of(plan, flow)
    (problem_flow,) = (f for f in plan.problem.flows if f.name == flow)
    return {
        t.name: "" if is_source(t.producer) else t.producer if t.producer in conditions else segment_of[t.producer]
        for t in problem_flow.tensors
    }


def conditions_of(plan: Plan, flow: str) -> frozenset[str]:
    """Name the ops of a flow that are conditions and not of a model."""
    return frozenset(
        condition_op(model.stage, tensor)
        for model in plan.models
        if model.flow == flow and model.when is not None
        for tensor in model.reads
    )


def lookups_of(plan: Plan, flow: str) -> frozenset[str]:
    """Name the ops of a flow that look for kept results; agents do so before they execute anything."""
    return frozenset(lookup_op(model.stage) for model in plan.models if model.flow == flow and model.cache is not None)


def lookups_s(plan: Plan, flow: str) -> dict[str, float]:
    """Say how long each segment that keeps its results looks for one, by the plan."""
    planned = plan.flow(flow)
    (problem_flow,) = (f for f in plan.problem.flows if f.name == flow)
    segment_of = {op: s.name for s in planned.segments for op in s.ops}
    return {
        segment_of[whole_op(stage)]: next(
            option.seconds
            for op in problem_flow.ops
            if op.name == lookup_op(stage)
            for option in op.options
            if (option.device, option.mode) == planned.assignment[op.name]
        )
        for stage in (model.stage for model in plan.models if model.flow == flow and model.cache is not None)
    }
