"""The rules a problem imposes, by name, and the same problem with some of them changed or given up.

`evaluate` names broken rules with these names; conflicts, explanations and sensitivities change them one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from placer.objective import TOTALS, UNITS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from placer.problem import Device, Flow, Limits, Link, Problem

_UNLIMITED = 1e18
"""A utilization nobody reaches: the field has no way to say 'none'."""


def deadline(flow: str) -> str:
    """Name of a flow's deadline."""
    return f"deadline_s of flow {flow!r}"


def deadline_after_pauses(flow: str) -> str:
    """Name of the deadline that a flow is to keep on paused connections."""
    return f"deadline_after_pauses_s of flow {flow!r}"


def joined(problem: Problem, rule: str) -> tuple[str, ...]:
    """Name the limits that are one rule with this one: the deadline of a flow that keeps it after pauses too.

    Two equal deadlines of a flow are one: that of a site, which has one word for both.
    """
    for flow in problem.flows:
        if rule == deadline(flow.name) and problem.limits.deadline_after_pauses_s.get(flow.name) == flow.deadline_s:
            return (rule, deadline_after_pauses(flow.name)) if flow.deadline_s is not None else (rule,)
    return (rule,)


def kept_off(flow: str, device: str) -> str:
    """Name of the rule that keeps tensors of a flow off a device."""
    return f"not_on of flow {flow!r} for {device!r}"


NO_LINK = "no link from "
"""How the name of a missing link begins; links cannot be given up like rules."""


def no_link(source: str, target: str) -> str:
    """Name what forbids to send from one device to another that no link joins."""
    return f"{NO_LINK}{source!r} to {target!r}"


def colocated(flow: str, group: Collection[str]) -> str:
    """Name of a colocation group."""
    return f"colocate of flow {flow!r}: {', '.join(group)}"


def memory(device: str) -> str:
    """Name of a device's memory cap."""
    return f"memory_bytes of {device!r}"


def utilization(device: str) -> str:
    """Name of a device's cap on utilization."""
    return f"max_utilization of {device!r}"


def link_utilization(source: str, target: str) -> str:
    """Name of a link's cap on utilization."""
    return f"max_utilization of link {source!r} -> {target!r}"


def is_utilization(rule: str) -> bool:
    """Whether a rule caps utilization, of a device or a link: no limit above 1 can help there."""
    return rule.startswith("max_utilization of ")


def power(device: str) -> str:
    """Name of a power cap, of a device or of the site."""
    return f"power_w of {device!r}"


def flow_energy(flow: str) -> str:
    """Name of a flow's cap on joules per inference."""
    return f"flow_energy_j of {flow!r}"


def flow_device_energy(flow: str, device: str) -> str:
    """Name of a flow's cap on joules per inference at one device."""
    return f"flow_device_energy_j of {flow!r} on {device!r}"


def accuracy(flow: str) -> str:
    """Name of a flow's cap on accuracy cost."""
    return f"accuracy_cost of {flow!r}"


def total(field: str) -> str:
    """Name of a cap on a total of the whole site; `field` is that of `Limits`."""
    return f"{field} of the whole plan"


def names(problem: Problem) -> tuple[str, ...]:
    """Name every rule of a problem that could be given up, in a fixed order."""
    found: list[str] = []
    for flow in problem.flows:
        if flow.deadline_s is not None:
            found.append(deadline(flow.name))
        barred = {d for t in flow.tensors for d in t.not_on}
        found += [kept_off(flow.name, d.name) for d in problem.devices if d.name in barred]
        found += [colocated(flow.name, group) for group in flow.colocate]
    for device in problem.devices:
        if device.memory_bytes is not None:
            found.append(memory(device.name))
        found.append(utilization(device.name))
    found += [link_utilization(k.source, k.target) for k in problem.links]
    given = problem.limits
    found += [deadline_after_pauses(f) for f in _alone_after_pauses(problem)]
    found += [power(d) for d in given.power_w]
    found += [flow_energy(f) for f in given.flow_energy_j]
    found += [flow_device_energy(f, d) for f, caps in given.flow_device_energy_j.items() for d in caps]
    found += [accuracy(f) for f in given.accuracy_cost]
    found += [total(field) for field in TOTALS if getattr(given, field) is not None]
    return tuple(found)


def limits(problem: Problem) -> dict[str, tuple[float, str]]:
    """Return the rules that are limits of a quantity: by name, the limit and its unit."""
    found: dict[str, tuple[float, str]] = {}
    for flow in problem.flows:
        if flow.deadline_s is not None:
            found[deadline(flow.name)] = (flow.deadline_s, "s")
    for device in problem.devices:
        if device.memory_bytes is not None:
            found[memory(device.name)] = (device.memory_bytes, "B")
        if device.max_utilization < _UNLIMITED:
            found[utilization(device.name)] = (device.max_utilization, "")
    for link in problem.links:
        if link.max_utilization < _UNLIMITED:
            found[link_utilization(link.source, link.target)] = (link.max_utilization, "")
    given = problem.limits
    found |= {deadline_after_pauses(f): (s, "s") for f, s in _alone_after_pauses(problem).items()}
    found |= {power(d): (w, "W") for d, w in given.power_w.items()}
    found |= {flow_energy(f): (j, "J") for f, j in given.flow_energy_j.items()}
    found |= {
        flow_device_energy(f, d): (j, "J") for f, caps in given.flow_device_energy_j.items() for d, j in caps.items()
    }
    found |= {accuracy(f): (a, "") for f, a in given.accuracy_cost.items()}
    for field, objective in TOTALS.items():
        if getattr(given, field) is not None:
            found[total(field)] = (getattr(given, field), UNITS[objective])
    return found


def without(problem: Problem, dropped: Collection[str]) -> Problem:
    """Return the problem with the named rules given up; everything else is the same."""
    return _changed(problem, dict.fromkeys(dropped))


def with_limit(problem: Problem, rule: str, limit: float) -> Problem:
    """Return the problem with another limit for one rule; everything else is the same.

    A deadline or a cap on a total may be new; other rules must be there already.
    """
    return _changed(problem, {rule: limit})


def with_deadlines_after_pauses(problem: Problem, flows: Collection[str]) -> Problem:
    """Return the problem with the named flows' deadlines to be kept after pauses too; those without one have none."""
    found = {f.name: f.deadline_s for f in problem.flows if f.name in flows and f.deadline_s is not None}
    limits = msgspec.structs.replace(
        problem.limits, deadline_after_pauses_s={**found, **problem.limits.deadline_after_pauses_s}
    )
    return msgspec.structs.replace(problem, limits=limits)


def _alone_after_pauses(problem: Problem) -> dict[str, float]:
    """Return the deadlines after pauses that are rules of their own."""
    one = {f.name: f.deadline_s for f in problem.flows}
    return {f: s for f, s in problem.limits.deadline_after_pauses_s.items() if one.get(f) != s}


def _changed(problem: Problem, changes: Mapping[str, float | None]) -> Problem:
    """Return the problem with new limits by rule; None gives a rule up."""
    new = {name: limit for rule, limit in changes.items() for name in joined(problem, rule)} | dict(changes)
    return msgspec.structs.replace(
        problem,
        devices=tuple(_device(d, new) for d in problem.devices),
        links=tuple(_link(k, new) for k in problem.links),
        flows=tuple(_flow(f, new) for f in problem.flows),
        limits=_limits(problem.limits, new),
    )


def _limits(old: Limits, new: Mapping[str, float | None]) -> Limits:
    caps = {
        f: {d: new.get(flow_device_energy(f, d), j) for d, j in caps.items()}
        for f, caps in old.flow_device_energy_j.items()
    }
    return msgspec.structs.replace(
        old,
        deadline_after_pauses_s=_kept(
            {f: new.get(deadline_after_pauses(f), s) for f, s in old.deadline_after_pauses_s.items()}
        ),
        power_w=_kept({d: new.get(power(d), w) for d, w in old.power_w.items()}),
        flow_energy_j=_kept({f: new.get(flow_energy(f), j) for f, j in old.flow_energy_j.items()}),
        flow_device_energy_j={f: _kept(by_device) for f, by_device in caps.items()},
        accuracy_cost=_kept({f: new.get(accuracy(f), a) for f, a in old.accuracy_cost.items()}),
        **{field: new[total(field)] for field in TOTALS if total(field) in new},
    )


def _kept(caps: Mapping[str, float | None]) -> dict[str, float]:
    return {name: cap for name, cap in caps.items() if cap is not None}


def _device(device: Device, new: Mapping[str, float | None]) -> Device:
    load = new.get(utilization(device.name), device.max_utilization)
    return msgspec.structs.replace(
        device,
        memory_bytes=new.get(memory(device.name), device.memory_bytes),
        max_utilization=_UNLIMITED if load is None else load,
    )


def _link(link: Link, new: Mapping[str, float | None]) -> Link:
    load = new.get(link_utilization(link.source, link.target), link.max_utilization)
    return msgspec.structs.replace(link, max_utilization=_UNLIMITED if load is None else load)


def _flow(flow: Flow, new: Mapping[str, float | None]) -> Flow:
    return msgspec.structs.replace(
        flow,
        deadline_s=new.get(deadline(flow.name), flow.deadline_s),
        tensors=tuple(
            msgspec.structs.replace(t, not_on=tuple(d for d in t.not_on if kept_off(flow.name, d) not in new))
            if t.not_on
            else t
            for t in flow.tensors
        ),
        colocate=tuple(g for g in flow.colocate if colocated(flow.name, g) not in new),
    )
