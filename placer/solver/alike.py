"""Finds devices that can change places without any plan's numbers changing, so that a search need not try them all.

Two devices are alike if swapping their names gives the same problem: the same figures and limits, the same options of
every op, the same links to everybody and between themselves. Then every allowed choice has an equal one with the two
swapped. Links of a shared medium are left out: who sends first there goes by the order of the file, which a swap
changes. docs/formulation.md says how searches use it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from placer.index import FlowIndex, ProblemIndex


def alike(index: ProblemIndex) -> tuple[tuple[int, ...], ...]:
    """Group the devices of a problem that are alike; devices that are like no other are left out."""
    classes: list[list[int]] = []
    signatures = [_signature(index, d) for d in range(len(index.devices))]
    links_in = Counter(index.medium_of)
    sharing = {
        index.device_position[name]
        for link, medium in zip(index.links, index.medium_of, strict=True)
        for name in (link.source, link.target)
        if links_in[medium] > 1
    }
    for d in range(len(index.devices)):
        if d in sharing:
            continue
        for members in classes:
            if signatures[members[0]] == signatures[d] and _swap(index, members[0], d):
                members.append(d)
                break
        else:
            classes.append([d])
    return tuple(tuple(members) for members in classes if len(members) > 1)


def _signature(index: ProblemIndex, d: int) -> object:
    """Everything about a device but its links and its ops' options."""
    device, limits = index.devices[d], index.problem.limits
    return (
        msgspec.structs.replace(device, name="", tier=""),
        limits.power_w.get(device.name),
        [joules.get(device.name) for joules in limits.flow_device_energy_j.values()],
    )


def _swap(index: ProblemIndex, a: int, b: int) -> bool:
    """Whether links and flows stay the same when two devices swap their places."""
    for other in range(len(index.devices)):
        if other in (a, b):
            continue
        for pairs in (((a, other), (b, other)), ((other, a), (other, b))):
            if _figures(index, *pairs[0]) != _figures(index, *pairs[1]):
                return False
    if _figures(index, a, b) != _figures(index, b, a):
        return False
    return all(_swap_in_flow(flow, a, b) for flow in index.flows)


def _figures(index: ProblemIndex, source: int, target: int) -> object:
    link = index.link(source, target)
    return None if link is None else msgspec.structs.replace(link, source="", target="", medium=None)


def _swap_in_flow(flow: FlowIndex, a: int, b: int) -> bool:
    if any((a in t.not_on) != (b in t.not_on) for t in flow.tensors):
        return False
    for options in flow.options:
        found: tuple[list[object], list[object]] = ([], [])
        for option in options:
            if option.device in (a, b):
                figures = (option.mode, option.seconds, option.joules, option.accuracy_cost, option.output_bytes)
                found[option.device == b].append(figures)
        if found[0] != found[1]:
            return False
    return True
