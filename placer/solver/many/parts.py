"""Takes a site apart into its flows, each alone on the devices it can use; equal flows make one part, counted.

A device or queue is *private* if a single flow can use it, else *shared*. What is private is no matter of prices:
its rules stay inside the flow's own problem, and two flows that differ in nothing but the names of their private
devices (a hundred equal cameras) are one part with a hundred members.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from placer.index import ProblemIndex
from placer.problem import Limits, Problem

if TYPE_CHECKING:
    from collections.abc import Hashable

    from placer.index import FlowIndex


@dataclass(frozen=True, slots=True)
class Part:
    """Flows that are equal up to their private devices, as the problem of the first of them alone.

    A choice of one member is a choice of every member, since options stand in the same order.
    """

    members: tuple[int, ...]
    """Positions of the flows in the site's problem."""
    index: ProblemIndex
    """The first member alone on its devices, with every rule that it can break alone."""
    bare: Problem
    """The same problem without limits on joules, which would be wrong where joules are priced."""
    limited: Problem
    """The same problem with those limits on joules that no other flow's doing matters to."""
    devices: tuple[int, ...]
    """Site's position of each device here."""
    links: tuple[int, ...]
    """Site's position of each link here."""
    media: tuple[int, ...]
    """Site's position of each queue here."""
    private: tuple[bool, ...]
    """For each device here, whether no other flow can use it."""

    def __reduce__(self) -> tuple[object, ...]:
        """Travel to another process as the problem's bytes, which takes a fraction of the time of pickled objects."""
        problem = msgspec.msgpack.encode(self.index.problem)
        own = (self.bare.limits, self.limited.limits, self.devices, self.links, self.media, self.private)
        return (_arrived, (self.members, problem, *own))

    @property
    def flow(self) -> FlowIndex:
        """The flow."""
        return self.index.flows[0]

    @property
    def count(self) -> int:
        """How many members there are."""
        return len(self.members)

    @property
    def rate_hz(self) -> float:
        """Inferences per second of one member."""
        return self.flow.flow.rate_hz

    @property
    def shape(self) -> Hashable:
        """Parts of one shape can try each other's choices."""
        return (tuple(map(len, self.flow.options)), tuple((t.producer, t.consumers) for t in self.flow.tensors))


def _arrived(
    members: tuple[int, ...],
    problem: bytes,
    bare: Limits,
    limited: Limits,
    devices: tuple[int, ...],
    links: tuple[int, ...],
    media: tuple[int, ...],
    private: tuple[bool, ...],
) -> Part:
    """Make a part again of what `Part.__reduce__` sent."""
    whole = msgspec.msgpack.decode(problem, type=Problem)
    index = ProblemIndex(whole)
    return Part(members, index, _with_limits(whole, bare), _with_limits(whole, limited), devices, links, media, private)


@dataclass(frozen=True, slots=True)
class Sharing:
    """How many flows can use each device and each queue."""

    device: tuple[int, ...]
    medium: tuple[int, ...]


def reach(index: ProblemIndex) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """For each flow, the devices it has options on and the links between them, by position."""
    leaving: dict[int, list[tuple[int, int]]] = {}
    for (a, b), k in index.link_at.items():
        leaving.setdefault(a, []).append((b, k))
    found = []
    for flow in index.flows:
        devices = sorted({o.device for options in flow.options for o in options})
        here = set(devices)
        links = sorted(k for a in devices for b, k in leaving.get(a, ()) if b in here)
        found.append((tuple(devices), tuple(links)))
    return found


def count_users(index: ProblemIndex, reached: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> Sharing:
    """Count for each device and queue the flows that can use it."""
    device, medium = Counter[int](), Counter[int]()
    for devices, links in reached:
        device.update(devices)
        medium.update({index.medium_of[k] for k in links})
    return Sharing(
        tuple(device[d] for d in range(len(index.devices))), tuple(medium[m] for m in range(len(index.media)))
    )


def make_parts(index: ProblemIndex) -> tuple[Part, ...]:
    """Take a site apart.

    Parameters
    ----------
    index
        A problem whose objective is a sum over flows: any but latency_s.
    """
    reached = reach(index)
    sharing = count_users(index, reached)
    caps = _medium_caps(index)
    groups: dict[Hashable, list[int]] = {}
    for f, (devices, links) in enumerate(reached):
        groups.setdefault(_key(index, f, devices, links, sharing), []).append(f)
    return tuple(_part(index, tuple(members), *reached[members[0]], sharing, caps) for members in groups.values())


def _medium_caps(index: ProblemIndex) -> list[float]:
    """Return the smallest cap on utilization among each queue's links: the one that binds them all."""
    caps = [float("inf")] * len(index.media)
    for k, link in enumerate(index.links):
        m = index.medium_of[k]
        caps[m] = min(caps[m], link.max_utilization)
    return caps


def _part(
    index: ProblemIndex,
    members: tuple[int, ...],
    devices: tuple[int, ...],
    links: tuple[int, ...],
    sharing: Sharing,
    caps: list[float],
) -> Part:
    flow = index.flows[members[0]].flow
    names = {index.devices[d].name for d in devices}
    limits = index.problem.limits
    # What joules and other flows have no part in.
    apart = Limits(
        accuracy_cost={f: a for f, a in limits.accuracy_cost.items() if f == flow.name},
        deadline_after_pauses_s={f: s for f, s in limits.deadline_after_pauses_s.items() if f == flow.name},
    )
    tensors = tuple(
        msgspec.structs.replace(t, not_on=tuple(d for d in t.not_on if d in names)) if t.not_on else t
        for t in flow.tensors
    )
    # Names are checked already; a problem of its own is made once per part and only its joules change later.
    bare = Problem(
        devices=tuple(index.devices[d] for d in devices),
        links=tuple(msgspec.structs.replace(index.links[k], max_utilization=caps[index.medium_of[k]]) for k in links),
        flows=(msgspec.structs.replace(flow, tensors=tensors),),
        limits=apart,
    )
    private = tuple(sharing.device[d] == 1 for d in devices)
    alone = {index.devices[d].name for d, mine in zip(devices, private, strict=True) if mine}
    power_w = {d: w for d, w in limits.power_w.items() if d in names}
    own = msgspec.structs.replace(
        apart,
        power_w=power_w,
        flow_energy_j={f: j for f, j in limits.flow_energy_j.items() if f == flow.name},
        flow_device_energy_j={
            f: {d: j for d, j in joules.items() if d in names}
            for f, joules in limits.flow_device_energy_j.items()
            if f == flow.name
        },
    )
    limited = msgspec.structs.replace(own, power_w={d: w for d, w in power_w.items() if d in alone})
    whole = _with_limits(bare, own)
    # Queues here come in the order of the links, and so do the site's.
    media = tuple(dict.fromkeys(index.medium_of[k] for k in links))
    return Part(members, ProblemIndex(whole), bare, _with_limits(bare, limited), devices, links, media, private)


def _with_limits(problem: Problem, limits: Limits) -> Problem:
    """Return a problem with other limits; itself if they are equal, since checking a problem takes time."""
    return problem if problem.limits == limits else msgspec.structs.replace(problem, limits=limits)


def _key(
    index: ProblemIndex, position: int, devices: tuple[int, ...], links: tuple[int, ...], sharing: Sharing
) -> Hashable:
    """Everything of a flow but its name and those of what is private to it; equal keys are one part."""
    flow, limits = index.flows[position], index.problem.limits
    at = {d: i for i, d in enumerate(devices)}
    queue = {m: i for i, m in enumerate(dict.fromkeys(index.medium_of[k] for k in links))}
    caps = limits.flow_device_energy_j.get(flow.name, {})

    def machine(d: int) -> Hashable:
        device = index.devices[d]
        if sharing.device[d] > 1:
            return d
        numbers = msgspec.structs.replace(device, name="", conversions=())
        conversions = tuple((c.from_mode, c.to_mode, c.s_per_byte, c.j_per_byte) for c in device.conversions)
        return (msgspec.structs.astuple(numbers), conversions, limits.power_w.get(device.name))

    def joins(k: int) -> Hashable:
        link, m = index.links[k], index.medium_of[k]
        numbers = msgspec.structs.astuple(msgspec.structs.replace(link, source="", target="", medium=None))
        medium = ("shared", m) if sharing.medium[m] > 1 else ("private", queue[m])
        return (at[index.device_position[link.source]], at[index.device_position[link.target]], medium, numbers)

    return (
        flow.flow.rate_hz,
        flow.flow.deadline_s,
        flow.flow.latency,
        tuple(tuple(flow.position[n] for n in group) for group in flow.flow.colocate),
        limits.flow_energy_j.get(flow.name),
        limits.accuracy_cost.get(flow.name),
        limits.deadline_after_pauses_s.get(flow.name),
        tuple((at[d], caps[index.devices[d].name]) for d in devices if index.devices[d].name in caps),
        tuple(map(machine, devices)),
        tuple(map(joins, links)),
        tuple((op.weights_bytes, op.weights_id, op.workspace_bytes, op.share) for op in flow.flow.ops),
        tuple(
            tuple(
                (at[o.device], o.mode, o.seconds, o.joules, o.accuracy_cost, tuple(sorted(o.output_bytes.items())))
                for o in options
            )
            for options in flow.options
        ),
        tuple(
            (t.producer, t.consumers, t.bytes, tuple(sorted(at[d] for d in t.not_on if d in at))) for t in flow.tensors
        ),
    )
