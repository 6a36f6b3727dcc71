"""Says what a reader of a plan's tables might take for granted and should not, each thing once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from placer.build import CONDITION_MODE
from placer.ends import SOURCE, is_endpoint, is_source
from placer.evaluate import evaluate_flow
from placer.index import ProblemIndex
from placer.report.radio_notes import radio_notes
from placer.report.tables import FLOWS_LISTED, amount
from placer.transfer_time import CALL_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from placer.plan import FlowPlan, Plan, Transfer
    from profiles import Site

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

_LARGE_ERROR = 0.25
"""A profile's own error of models that it does not hold is told where it is larger."""


def notes(plan: Plan, site: Site | None = None) -> list[str]:
    """Say what a reader of the tables might take for granted and should not.

    Parameters
    ----------
    plan
        The plan.
    site
        What it was planned from, whose figures say how far off seconds are; None where it is not at hand.
    """
    found = _device_notes(plan)
    if site is not None:
        found += _seconds_notes(plan, site)
        found += radio_notes(plan, site)
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
    if kept := list(dict.fromkeys(model.flow for model in plan.models if model.cache is not None)):
        found.append(
            f"Note: run times and latencies of {_listed(kept)} are of requests of which no result was kept; joules "
            "count the hits that the site expects."
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
    busy = {(s.device, s.mode) for f in plan.flows for s in f.segments if s.device in able}
    if unknown := [d.name for d in plan.problem.devices if any(d.name == n and d.start(m)[0] == 0 for n, m in busy)]:
        found.append(
            f"Note: no seconds are known for the start of a segment on {_listed(unknown)}, so it counts as nothing: "
            "small segments there take longer and more joules than is said. Give `segment_s` of the mode in the site's "
            "file."
        )
    return found


def _seconds_notes(plan: Plan, site: Site) -> list[str]:
    """Say which devices in use have seconds that their own profiles call far off, or another device's."""
    sha256 = {(model.flow, model.stage): model.sha256 for model in plan.models}
    ran: dict[tuple[str, str], set[str]] = {}
    for flow in plan.flows:
        for segment in flow.segments:
            for stage in {op.partition("/")[0] for op in segment.ops}:
                # Of several stages, each has modes of its name; what is no stage is a condition, which takes no time.
                if (flow.name, stage) in sha256:
                    place = segment.device, segment.mode.removesuffix(f" ({stage})")
                    ran.setdefault(place, set()).add(sha256[flow.name, stage])
    # A device and each error are told once, whatever number of its modes and flows they are true of.
    unseen: dict[float, dict[str, None]] = {}
    scaled: dict[float, dict[str, None]] = {}
    for device in site.devices:
        for mode in device.modes:
            known = mode.op_costs
            if device.costs == "measured" or known is None or (device.name, mode.name) not in ran:
                continue
            error = known.unseen_relative_error
            if ran[device.name, mode.name] - {m.sha256 for m in known.models} and error and error > _LARGE_ERROR:
                unseen.setdefault(error, {})[device.name] = None
            if known.scale_relative_error is not None:
                scaled.setdefault(known.scale_relative_error, {})[device.name] = None
    return [
        f"Note: seconds on {_listed([*names])} are those of another device's ops, at a level of its own "
        f"(`seconds_like`), which is off by {error:.0%} on average."
        for error, names in scaled.items()
    ] + [
        f"Note: the profile of seconds on {_listed([*names])} misses models that it was not made with by {error:.0%} "
        "on average, by its own account, and one of them runs there: run `placer profile` with that model."
        for error, names in unseen.items()
    ]


def _pause_notes(plan: Plan) -> list[str]:
    """Say which flows take noticeably longer after pauses, and for which plans had to be passed over."""
    paused_s = latencies_after_pauses_s(plan)
    longer = [f for f in plan.flows if paused_s[f.name] >= _NOTICED * f.latency_s]
    found = [_forgotten(longer, paused_s)] if longer else []
    if capped := plan.problem.limits.deadline_after_pauses_s:
        limits = sorted(set(capped.values()))
        whose = f"the deadline of {amount(limits[0], 's')}" if len(limits) == 1 else "the deadlines"
        found.append(
            f"Note: plans that keep {whose} of {'flow' if len(capped) == 1 else 'flows'} {_listed([*capped])} only "
            "without such pauses between requests were passed over; `placer explain` says what that costs."
        )
    return found + _process_notes(plan, paused_s)


def _process_notes(plan: Plan, paused_s: Mapping[str, float]) -> list[str]:
    """Say which deadlines leave no time for what the processes at both ends of each message take."""
    left_s = {f.name: f.deadline_s - paused_s[f.name] for f in plan.flows if f.deadline_s is not None}
    short = [f for f in plan.flows if f.name in left_s and left_s[f.name] < _in_a_row(f.transfers) * CALL_S]
    if not short:
        return []
    worst = min(short, key=lambda f: left_s[f.name])
    count = _in_a_row(worst.transfers)
    messages = "message takes" if count == 1 else f"{count} messages, one after the other, take"
    left = amount(left_s[worst.name], "s")
    return [
        f"Note: {_listed([f.name for f in short])} may be late: {worst.name!r} has {left} left to its deadline, and "
        f"its {messages} the processes at both ends about {amount(CALL_S, 's')} each, which only "
        "links measured by `placer probe` have in their latency."
    ]


def _in_a_row(transfers: Sequence[Transfer]) -> int:
    """Count the transfers of the longest chain in which each is asked for after the one before has arrived."""
    ends: list[tuple[float, int]] = []
    for t in sorted(transfers, key=lambda t: t.request_s):
        ends.append((t.arrival_s, 1 + max((n for arrival_s, n in ends if arrival_s <= t.request_s), default=0)))
    return max((n for _, n in ends), default=0)


def latencies_after_pauses_s(plan: Plan) -> dict[str, float]:
    """Give for each flow of a plan its seconds on paused connections: what a site's deadline has to allow."""
    index = ProblemIndex(plan.problem)
    found = {}
    for position, flow in enumerate(index.flows):
        choice = index.choice_of(position, plan.flow(flow.name).assignment)
        found[flow.name] = evaluate_flow(index, flow, choice, "paused").latency_s
    return found


def _forgotten(some: Sequence[FlowPlan], paused_s: Mapping[str, float]) -> str:
    named = {f.name: f"about {amount(paused_s[f.name], 's')}, not {amount(f.latency_s, 's')}" for f in some}
    rates = sorted({f.rate_hz for f in some})
    often = f"{rates[0]:g} a second" if len(rates) == 1 else f"{rates[0]:g} to {rates[-1]:g} a second"
    worst = max(some, key=lambda f: paused_s[f.name] / f.latency_s).name
    if len(named) == 1:
        flows, takes = "flow", f"it then takes {named[worst]}"
    elif len(set(named.values())) == 1:
        flows, takes = "flows", f"each then takes {named[worst]}"
    else:
        flows, takes = "flows", f"they then take longer, the most {worst!r}: {named[worst]}"
    return (
        f"Note: at {often} TCP forgets between requests how much the links of {flows} {_listed([*named])} bear: "
        f"{takes}."
    )


def _listed(names: Sequence[str]) -> str:
    """Write the first names and how many more there are."""
    shown = [repr(name) for name in names[:_NAMES]]
    more = [f"{len(names) - _NAMES} more"] if len(names) > _NAMES else []
    *first, last = [*shown, *more]
    return f"{', '.join(first)} and {last}" if first else last
