"""The rules a problem imposes, by name, and the same problem without some of them.

`evaluate` names broken rules with these names; the search for a conflict drops them one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from placer.objective import TOTALS

if TYPE_CHECKING:
    from collections.abc import Collection

    from placer.problem import Device, Flow, Limits, Link, Problem

_UNLIMITED = 1e18
"""A utilization nobody reaches: the field has no way to say 'none'."""


def deadline(flow: str) -> str:
    """Name of a flow's deadline."""
    return f"deadline_s of flow {flow!r}"


def kept_off(flow: str, device: str) -> str:
    """Name of the rule that keeps tensors of a flow off a device."""
    return f"not_on of flow {flow!r} for {device!r}"


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
    limits = problem.limits
    found += [power(d) for d in limits.power_w]
    found += [flow_energy(f) for f in limits.flow_energy_j]
    found += [flow_device_energy(f, d) for f, caps in limits.flow_device_energy_j.items() for d in caps]
    found += [accuracy(f) for f in limits.accuracy_cost]
    found += [total(field) for field in TOTALS if getattr(limits, field) is not None]
    return tuple(found)


def without(problem: Problem, dropped: Collection[str]) -> Problem:
    """Return the problem with the named rules given up; everything else is the same."""
    return msgspec.structs.replace(
        problem,
        devices=tuple(_device(d, dropped) for d in problem.devices),
        links=tuple(_link(k, dropped) for k in problem.links),
        flows=tuple(_flow(f, dropped) for f in problem.flows),
        limits=_limits(problem.limits, dropped),
    )


def _limits(limits: Limits, dropped: Collection[str]) -> Limits:
    return msgspec.structs.replace(
        limits,
        power_w={d: w for d, w in limits.power_w.items() if power(d) not in dropped},
        flow_energy_j={f: j for f, j in limits.flow_energy_j.items() if flow_energy(f) not in dropped},
        flow_device_energy_j={
            f: {d: j for d, j in caps.items() if flow_device_energy(f, d) not in dropped}
            for f, caps in limits.flow_device_energy_j.items()
        },
        accuracy_cost={f: a for f, a in limits.accuracy_cost.items() if accuracy(f) not in dropped},
        **dict.fromkeys(field for field in TOTALS if total(field) in dropped),
    )


def _device(device: Device, dropped: Collection[str]) -> Device:
    return msgspec.structs.replace(
        device,
        memory_bytes=None if memory(device.name) in dropped else device.memory_bytes,
        max_utilization=_UNLIMITED if utilization(device.name) in dropped else device.max_utilization,
    )


def _link(link: Link, dropped: Collection[str]) -> Link:
    if link_utilization(link.source, link.target) in dropped:
        return msgspec.structs.replace(link, max_utilization=_UNLIMITED)
    return link


def _flow(flow: Flow, dropped: Collection[str]) -> Flow:
    return msgspec.structs.replace(
        flow,
        deadline_s=None if deadline(flow.name) in dropped else flow.deadline_s,
        tensors=tuple(
            msgspec.structs.replace(t, not_on=tuple(d for d in t.not_on if kept_off(flow.name, d) not in dropped))
            if t.not_on
            else t
            for t in flow.tensors
        ),
        colocate=tuple(g for g in flow.colocate if colocated(flow.name, g) not in dropped),
    )
