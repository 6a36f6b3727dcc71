"""Says what a reader of a plan's tables might take for granted and should not, each thing once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from placer.build import CONDITION_MODE
from placer.ends import SOURCE, is_endpoint, is_source
from placer.pauses import pauses
from placer.report.tables import FLOWS_LISTED, amount

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placer.pauses import Pause
    from placer.plan import Plan

_FIGURES = {
    "measured": "measured on the device itself",
    "fitted": "fitted to measurements",
    "spec": "of the maker's data sheet",
    "declared": "declared in the site's file",
    "given": "given by the problem",
}

_NOTICED = 1.05
"""A latency is told when it is so many times the planned one."""

_NAMES = 3
"""Names that a sentence lists at most; one that is true of more says of how many."""


def notes(plan: Plan) -> list[str]:
    """Say what a reader of the tables might take for granted and should not."""
    found = _device_notes(plan)
    if len(plan.flows) > 1:
        found.append(
            "Note: latencies are of each flow alone; caps on utilization keep other flows' queues away from it."
        )
    if len(plan.flows) > FLOWS_LISTED:
        found.append(
            f"Note: segments of the first {FLOWS_LISTED} of {len(plan.flows)} flows are listed; --output and --json "
            "have all."
        )
    if waiting := [f.name for f in plan.flows if any(is_source(op) and op != SOURCE for op in f.assignment)]:
        found.append(
            f"Note: data of {_listed(waiting)} that arise elsewhere than on the flow's source leave when its word is "
            "there that a request began; that word is not in the plan's times and joules."
        )
    found += _pause_notes(plan)
    used = {name for line in plan.ledger.marginal for name in line.origin.split(", ")}
    if key := "; ".join(f"{name}: {words}" for name, words in _FIGURES.items() if name in used):
        found.append(f"Figures are {key}. Run times include the start of the segment.")
    return found


def _device_notes(plan: Plan) -> list[str]:
    found = []
    working = [op for f in plan.problem.flows for op in f.ops if not is_endpoint(op.name)]
    able = {o.device for op in working for o in op.options if o.mode != CONDITION_MODE}
    if idle := [d.name for d in plan.problem.devices if d.name not in able]:
        found.append(
            f"Note: {_listed(idle)} can run none of the models: no mode there computes in their numeric format."
        )
    busy = {s.device for f in plan.flows for s in f.segments}
    if unknown := [d.name for d in plan.problem.devices if d.name in busy & able and d.segment_s == 0]:
        found.append(
            f"Note: no seconds are known for the start of a segment on {_listed(unknown)}, so it counts as nothing: "
            "small segments there take longer and more joules than is said."
        )
    return found


def _pause_notes(plan: Plan) -> list[str]:
    """Say which flows take noticeably longer after pauses; those that are late for it by themselves."""
    deadlines = {f.name: f.deadline_s for f in plan.flows}
    longer = [p for p in pauses(plan) if p.paused_s >= _NOTICED * p.planned_s]
    in_time: list[Pause] = []
    late: list[Pause] = []
    for p in longer:
        deadline = deadlines[p.flow]
        (in_time if deadline is None or p.paused_s <= deadline else late).append(p)
    found = []
    if in_time:
        found.append(f"{_forgotten(plan, in_time)}.")
    if late:
        limits = {deadlines[p.flow] or 0.0 for p in late}
        beyond = f"the deadline of {amount(limits.pop(), 's')}" if len(limits) == 1 else "their deadlines"
        found.append(f"{_forgotten(plan, late)}, which is beyond {beyond}; emulate it.")
    return found


def _forgotten(plan: Plan, some: Sequence[Pause]) -> str:
    named = {p.flow: f"about {amount(p.paused_s, 's')}, not {amount(p.planned_s, 's')}" for p in some}
    rates = sorted({f.rate_hz for f in plan.flows if f.name in named})
    often = f"{rates[0]:g} a second" if len(rates) == 1 else f"{rates[0]:g} to {rates[-1]:g} a second"
    worst = max(some, key=lambda p: p.paused_s / p.planned_s).flow
    if len(named) == 1:
        flows, takes = "flow", f"it then takes {named[worst]}"
    elif len(set(named.values())) == 1:
        flows, takes = "flows", f"each then takes {named[worst]}"
    else:
        flows, takes = "flows", f"they then take longer, the most {worst!r}: {named[worst]}"
    return (
        f"Note: at {often} TCP forgets between requests how much the links of {flows} {_listed([*named])} bear: {takes}"
    )


def _listed(names: Sequence[str]) -> str:
    """Write the first names and how many more there are."""
    shown = [repr(name) for name in names[:_NAMES]]
    more = [f"{len(names) - _NAMES} more"] if len(names) > _NAMES else []
    *first, last = [*shown, *more]
    return f"{', '.join(first)} and {last}" if first else last
