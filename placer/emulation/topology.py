"""From a problem's devices and links to hosts, wires and routes: what the emulated network is to be."""

from __future__ import annotations

import ipaddress
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import networkx as nx

from placer.emulation.shaping import LaneSpec
from placer.errors import ProblemError
from placer.transfer_time import Path

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from placer.problem import Link, Problem

MAX_HOSTS = 200
MAX_BYTES_PER_S = 1.25e8
"""What a wire in user space was seen to carry; faster links are as fast as the machine lets them be."""

_AGENT_PORT = 7000
_HOSTS = ipaddress.IPv4Address("10.77.0.0")
_DESK = ipaddress.IPv4Address("10.78.0.0")
_WIRES = ipaddress.IPv4Address("10.79.0.0")
_SUBNET = 4
"""Addresses of a network of two: its name, the ends, and its broadcast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """A link between two devices, both ways.

    Parameters
    ----------
    number
        Names its interfaces: ``w<number>`` at each device, ``w<number>a`` and ``w<number>b`` at the wire's process.
    ends
        The two devices.
    lanes
        From the first to the second, and back.
    """

    number: int
    ends: tuple[str, str]
    lanes: tuple[LaneSpec, LaneSpec]

    def address(self, end: int) -> str:
        """Give the address of an end, 0 or 1, on this wire."""
        return str(_WIRES + self.number * _SUBNET + 1 + end)

    @property
    def round_trip_s(self) -> float:
        """Seconds of an empty packet there and back."""
        return self.lanes[0].latency_s + self.lanes[1].latency_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """The hosts and wires of a site.

    Parameters
    ----------
    devices
        One host each.
    wires
        What joins them.
    paths
        For each ordered pair of devices the wires between, by least latency, each with the end it is entered at.
    """

    devices: tuple[str, ...]
    wires: tuple[Wire, ...]
    paths: Mapping[tuple[str, str], tuple[tuple[Wire, int], ...]]

    def address(self, device: str) -> str:
        """Give the address of a device."""
        return str(_HOSTS + self.devices.index(device) + 1)

    def agent(self, device: str) -> str:
        """Give the ``host:port`` of a device's agent, the same from wherever it is reached."""
        return f"{self.address(device)}:{_AGENT_PORT}"

    def desk_address(self, device: str, end: int) -> str:
        """Give the addresses of the unshaped connection between the desk (end 0) and a device (end 1)."""
        return str(_DESK + self.devices.index(device) * _SUBNET + 1 + end)

    def path(self, source: str, target: str) -> Path:
        """Give what a connection from one device to another runs over."""
        steps = self.paths[source, target]
        return Path(
            round_trip_s=sum(wire.round_trip_s for wire, _ in steps),
            bytes_per_s=min(wire.lanes[end].bytes_per_s for wire, end in steps),
        )

    def latency_s(self, source: str, target: str) -> float:
        """Give the seconds of an empty packet one way."""
        return sum(wire.lanes[end].latency_s for wire, end in self.paths[source, target])

    def groups(self) -> tuple[tuple[Wire, ...], ...]:
        """Give the wires that share media with each other, and so a process."""
        graph = nx.Graph()
        for wire in self.wires:
            graph.add_edges_from((wire.number, lane.medium) for lane in wire.lanes)
        return tuple(
            tuple(wire for wire in self.wires if wire.number in component)
            for component in nx.connected_components(graph)
        )


def lay_network(problem: Problem, used: Collection[str]) -> Topology:
    """Lay the hosts and wires of the devices that a plan uses.

    A link that the problem has one way only gets a way back like itself: acknowledgements need one.

    Parameters
    ----------
    problem
        Names devices and links.
    used
        The devices that take part.

    Raises
    ------
    ProblemError
        There are more devices than the emulated network has addresses, or two of them cannot reach each other.
    """
    devices = tuple(d.name for d in problem.devices if d.name in used)
    if len(devices) > MAX_HOSTS:
        raise ProblemError(f"the plan uses {len(devices)} devices; one machine emulates at most {MAX_HOSTS}")
    given = {(k.source, k.target): k for k in problem.links if k.source in devices and k.target in devices}
    pairs = dict.fromkeys((min(pair, pair[::-1], key=lambda p: devices.index(p[0]))) for pair in given)
    wires = tuple(_wire(number, pair, given) for number, pair in enumerate(pairs))
    return Topology(devices=devices, wires=wires, paths=_paths(devices, wires))


def _wire(number: int, ends: tuple[str, str], given: Mapping[tuple[str, str], Link]) -> Wire:
    back = ends[::-1]
    names = (f"w{number}a", f"w{number}b")
    return Wire(
        number=number,
        ends=ends,
        lanes=(
            _lane(given.get(ends) or given[back], *names, None if ends in given else f"w{number} there"),
            _lane(given.get(back) or given[ends], *names[::-1], None if back in given else f"w{number} back"),
        ),
    )


def _lane(link: Link, source: str, target: str, invented: str | None) -> LaneSpec:
    medium = invented or link.medium or f"{link.source}->{link.target}"
    return LaneSpec(source=source, target=target, bytes_per_s=link.bytes_per_s, latency_s=link.latency_s, medium=medium)


def _paths(devices: tuple[str, ...], wires: tuple[Wire, ...]) -> dict[tuple[str, str], tuple[tuple[Wire, int], ...]]:
    """Find the wires between every two devices; the fewest wires where latencies are equal."""
    graph = nx.Graph()
    graph.add_nodes_from(devices)
    for wire in wires:
        # A direct wire is always taken: data goes over the plan's own links only.
        graph.add_edge(*wire.ends, wire=wire, round_trip_s=wire.round_trip_s + 1e-6)
    found: dict[tuple[str, str], tuple[tuple[Wire, int], ...]] = {}
    for source in devices:
        ways = nx.single_source_dijkstra_path(graph, source, weight="round_trip_s")
        if lost := [d for d in devices if d not in ways]:
            raise ProblemError(f"devices {lost} cannot be reached from {source!r} over the plan's links")
        for target, way in ways.items():
            if target == source:
                continue
            if graph.has_edge(source, target):
                way = [source, target]
            steps = [(graph.edges[a, b]["wire"], a) for a, b in itertools.pairwise(way)]
            found[source, target] = tuple((wire, wire.ends.index(a)) for wire, a in steps)
    return found
