"""N-1: for every device or link that a plan passes, the plan that serves while it is lost, under the same rules.

Only flows that pass what is lost are placed anew, so that each device can tell by itself which flows change: the
others stay as they are, and the fallback is proven for all of them together. No rule is relaxed; a flow that cannot
be served without what is lost is listed as such.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from placer.ends import is_sink, is_source
from placer.errors import Infeasible, NoPlanFound
from placer.plan import Fallback, Plan, Unserved
from placer.solver.asked import check_asked
from placer.solver.outcome import OPTIMALITY_GAP
from placer.solver.solve import solve

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from placer.plan import FlowPlan
    from placer.problem import Flow, Op, Problem


def add_fallbacks(
    plan: Plan, *, time_limit_s: float = 60.0, gap: float = OPTIMALITY_GAP, seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Plan:  # fmt: skip
    """Give a plan with a fallback for each device and each link that it passes.

    Parameters
    ----------
    plan
        The plan, with its problem.
    time_limit_s, gap, seed
        Of each search, as `placer.solve`.
    progress
        Called with a line of text before each search.

    Returns
    -------
    Plan
        The same, with `fallbacks`.

    Raises
    ------
    ProblemError
        `time_limit_s`, `gap` or `seed` is out of its range.
    """
    check_asked(time_limit_s=time_limit_s, gap=gap, seed=seed)
    found = []
    for lost in losses(plan):
        if progress is not None:
            progress(f"planning for the loss of {Fallback(lost=lost).name}")
        found.append(_fallback(plan, lost, time_limit_s, gap, seed))
    return msgspec.structs.replace(plan, fallbacks=tuple(found))


def losses(plan: Plan) -> Iterator[tuple[str, ...]]:
    """Give what the plan's flows pass: each device by its name, then each link by its two ends."""
    devices = {device for flow in plan.flows for device, _ in flow.assignment.values()}
    yield from ((device.name,) for device in plan.problem.devices if device.name in devices)
    order = {device.name: i for i, device in enumerate(plan.problem.devices)}
    ends = {tuple(sorted((x.source, x.target), key=order.__getitem__)) for f in plan.flows for x in f.transfers}
    yield from sorted(ends, key=lambda pair: [order[device] for device in pair])


def variant(plan: Plan, fallback: Fallback) -> Plan:
    """Give the flows that a fallback places anew as a plan of their own, to be cut and deployed beside the plan."""
    names = {flow.name for flow in fallback.flows}
    return msgspec.structs.replace(
        plan,
        flows=fallback.flows,
        models=tuple(model for model in plan.models if model.flow in names),
        fallbacks=(),
        problem=_without(plan.problem, (), tuple(flow for flow in plan.problem.flows if flow.name in names)),
    )


def warm(plan: Plan) -> dict[str, set[tuple[str, ...]]]:
    """Say on which devices which fallbacks fit into memory beside the plan: those are kept loaded there.

    Returns
    -------
    dict
        Device to what is lost, of the fallbacks to load; on a device without a limit all of them.
    """
    ops = {(flow.name, op.name): op for flow in plan.problem.flows for op in flow.ops}
    chosen: dict[str, set[tuple[str, ...]]] = {}
    for device in plan.problem.devices:
        held: dict[str, float] = {}
        workspace_bytes = _add(held, device.name, plan.flows, ops)
        fitting = chosen[device.name] = set()
        for fallback in plan.fallbacks:
            trial = dict(held)
            room_bytes = max(workspace_bytes, _add(trial, device.name, fallback.flows, ops))
            if device.memory_bytes is None or sum(trial.values()) + room_bytes <= device.memory_bytes:
                held, workspace_bytes = trial, room_bytes
                fitting.add(fallback.lost)
    return chosen


def _add(held: dict[str, float], device: str, flows: tuple[FlowPlan, ...], ops: dict[tuple[str, str], Op]) -> float:
    """Add the weights that flows have on a device to `held`; returns the largest workspace, in bytes."""
    here = [
        ((flow.name, name), ops[flow.name, name])
        for flow in flows
        for name, (at, _) in flow.assignment.items()
        if at == device
    ]
    held.update({op.weights_id or "/".join(key): op.weights_bytes for key, op in here})
    return max((op.workspace_bytes for _, op in here), default=0.0)


def _fallback(plan: Plan, lost: tuple[str, ...], time_limit_s: float, gap: float, seed: int) -> Fallback:
    affected = [flow for flow in plan.flows if _passes(flow, lost)]
    problem_flows = {flow.name: flow for flow in plan.problem.flows}
    unserved = {flow.name: reason for flow in affected if (reason := _bound_to(problem_flows[flow.name], lost))}
    wanted = [flow.name for flow in affected if flow.name not in unserved]

    def attempt(names: Collection[str]) -> Plan | str:
        if not names:
            return "none of its flows is left"
        fixed = {flow.name: flow for flow in plan.flows if flow not in affected}
        flows = tuple(
            _fixed(flow, fixed[name]) if name in fixed else flow
            for name, flow in problem_flows.items()
            if name in fixed or name in names
        )
        try:
            return solve(
                _without(plan.problem, lost, flows),
                time_limit_s=time_limit_s,
                gap=gap,
                seed=seed,
                after_pauses=bool(plan.models),
            )
        except Infeasible as error:
            return "; ".join(plan.meanings.get(rule, rule) for rule in error.conflict)
        except NoPlanFound as error:
            return str(error)

    found = attempt(wanted)
    if isinstance(found, str):
        # Not all together: one after the other, as long as they go together.
        served: list[str] = []
        for name in wanted:
            tried = attempt([*served, name])
            if isinstance(tried, str):
                unserved[name] = tried
            else:
                found = tried
                served.append(name)
        wanted = served
    listed = tuple(Unserved(flow=f.name, reason=unserved[f.name]) for f in affected if f.name in unserved)
    if isinstance(found, str):
        return Fallback(lost=lost, unserved=listed)
    return Fallback(
        lost=lost,
        flows=tuple(found.flow(name) for name in wanted),
        unserved=listed,
        status=found.status,
        objective=found.objective,
        bound=found.bound,
        gap=found.gap,
    )


def _passes(flow: FlowPlan, lost: tuple[str, ...]) -> bool:
    if len(lost) == 1:
        return any(device == lost[0] for device, _ in flow.assignment.values())
    return any({x.source, x.target} == set(lost) for x in flow.transfers)


def _bound_to(flow: Flow, lost: tuple[str, ...]) -> str:
    """Say why a flow cannot do without a device: one of its ops runs nowhere else, its source for one.

    A lost link binds no op: both of its ends are there.
    """
    if len(lost) > 1:
        return ""
    for op in flow.ops:
        if {option.device for option in op.options} == set(lost):
            if is_source(op.name):
                what = "its data arise"
            else:
                what = "its result is needed" if is_sink(op.name) else f"op {op.name!r} can run only"
            return f"{what} on {lost[0]!r}"
    return ""


def _without(problem: Problem, lost: tuple[str, ...], flows: tuple[Flow, ...]) -> Problem:
    """Leave out what is lost and all flows but these."""
    gone = set(lost) if len(lost) == 1 else set()
    names = {flow.name for flow in flows}
    limits = problem.limits
    return msgspec.structs.replace(
        problem,
        devices=tuple(device for device in problem.devices if device.name not in gone),
        links=tuple(
            link
            for link in problem.links
            if not gone & {link.source, link.target} and {link.source, link.target} != set(lost)
        ),
        flows=tuple(_narrowed(flow, gone) for flow in flows),
        limits=msgspec.structs.replace(
            limits,
            power_w={name: cap for name, cap in limits.power_w.items() if name not in gone},
            flow_energy_j={name: cap for name, cap in limits.flow_energy_j.items() if name in names},
            flow_device_energy_j={
                name: {device: cap for device, cap in caps.items() if device not in gone}
                for name, caps in limits.flow_device_energy_j.items()
                if name in names
            },
            accuracy_cost={name: cap for name, cap in limits.accuracy_cost.items() if name in names},
            deadline_after_pauses_s={
                name: cap for name, cap in limits.deadline_after_pauses_s.items() if name in names
            },
        ),
    )


def _narrowed(flow: Flow, gone: set[str]) -> Flow:
    return msgspec.structs.replace(
        flow,
        ops=tuple(
            msgspec.structs.replace(op, options=tuple(o for o in op.options if o.device not in gone)) for op in flow.ops
        ),
        tensors=tuple(
            msgspec.structs.replace(t, not_on=tuple(d for d in t.not_on if d not in gone)) for t in flow.tensors
        ),
    )


def _fixed(flow: Flow, planned: FlowPlan) -> Flow:
    """Leave each op the option that it has."""
    return msgspec.structs.replace(
        flow,
        ops=tuple(
            msgspec.structs.replace(
                op, options=tuple(o for o in op.options if (o.device, o.mode) == planned.assignment[op.name])
            )
            for op in flow.ops
        ),
    )
