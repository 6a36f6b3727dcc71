"""Turns a site's devices and links into a problem's: what they take, draw and hold, and whether that adds up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from placer.costs import busy
from placer.errors import ProblemError
from placer.problem import Device, Link, Start
from profiles import ProfileError, idle_w, segment_j, transfer_cost, wait_w

if TYPE_CHECKING:
    from collections.abc import Mapping

    import profiles
    from placer.costs import CostTable
    from placer.models.flow_graph import FlowGraph
    from profiles import Site

_WALL = frozenset({"wall", "node"})
"""Boundaries at a wall plug: of a device, of a server. Their joules may be added."""


def _begins(flow: profiles.Flow) -> tuple[str, ...]:
    """Give the devices on which a flow's data arise."""
    return (flow.source, *flow.sources.values())


def _ends(flow: profiles.Flow) -> tuple[str, ...]:
    """Give the devices on which a flow's outputs are needed."""
    return (flow.sink, *flow.sinks.values())


def build_device(
    site: Site,
    device: profiles.Device,
    graphs: Mapping[str, FlowGraph],
    costs: Mapping[str, Mapping[str, CostTable]],
) -> Device:
    """Make a problem's device, with what starting a segment takes in each mode that the models run in.

    Parameters
    ----------
    site, device
        The site, and one of its devices.
    graphs, costs
        Each flow's stages, and what they cost, by flow and stage.

    Raises
    ------
    ProblemError
        The device waits for results, and what it draws meanwhile is not known.
    """
    starts: dict[str, tuple[float, float]] = {}
    for flow, by_stage in costs.items():
        for stage, table in by_stage.items():
            seconds = table.seconds_on(device.name)
            for mode in device.modes:
                if mode.name in seconds:
                    joules = segment_j(device, busy(graphs[flow].stages[stage], device, mode, seconds[mode.name]))
                    name = problem_mode(graphs[flow], stage, mode.name)
                    # What runs in one mode of a problem costs the same to start; the dearest keeps the plan's promise.
                    other_s, other_j = starts.get(name, (0.0, 0.0))
                    starts[name] = max(other_s, mode.segment_s.value), max(other_j, joules)
    most = max((s for s, _ in starts.values()), default=0.0), max((j for _, j in starts.values()), default=0.0)
    return Device(
        name=device.name,
        tier=device.tier,
        memory_bytes=device.memory_bytes,
        idle_w=idle_w(device),
        always_on=device.always_on,
        max_utilization=device.max_utilization,
        segment_s=most[0],
        segment_j=most[1],
        starts=tuple(Start(mode=name, segment_s=s, segment_j=j) for name, (s, j) in starts.items() if (s, j) != most),
        # Only who needs the result waits for it: a source that is no sink goes back to sleep or on to other work.
        wait_w=_wait_w(site, device) if any(device.name in {*_begins(f)} & {*_ends(f)} for f in site.flows) else 0.0,
    )


def _wait_w(site: Site, device: profiles.Device) -> float:
    try:
        return wait_w(device)
    except ProfileError as error:
        raise ProblemError(f"{site.file}: devices[{site.devices.index(device)}].wait_w: {error}") from None


def gap_s(site: Site, link: profiles.Link) -> float:
    """Return the mean seconds between requests that are taken to keep a link's radios awake.

    Those of flows that begin or end at its devices; where both ends have such flows, the quieter end counts. Others may
    pass too, and then tails are charged in full. Where a plan serves a flow without the link, they are charged too low:
    `placer.report.radio_notes` tells of that.
    """
    rates = [
        sum(f.rate_hz for f in site.flows if end in {*_begins(f), *_ends(f)}) for end in (link.source, link.target)
    ]
    certain = [rate for rate in rates if rate > 0] or [sum(f.rate_hz for f in site.flows)]
    return 1.0 / max(min(certain), 1e-12)


def build_link(site: Site, link: profiles.Link, gap_s: float) -> Link:
    """Make a problem's link.

    Parameters
    ----------
    site, link
        The site, and one of its links.
    gap_s
        Mean seconds between requests that keep its radios awake.

    Raises
    ------
    ProblemError
        A figure of its energy is missing.
    """
    try:
        cost = transfer_cost(link, site.device(link.source), site.device(link.target), gap_s)
    except ProfileError as error:
        raise ProblemError(f"link {link.source!r} -> {link.target!r}: {error}") from None
    return Link(
        source=link.source,
        target=link.target,
        medium=link.medium,
        latency_s=cost.latency_s,
        bytes_per_s=cost.bytes_per_s,
        energy_j_per_byte=cost.energy_j_per_byte,
        energy_j_per_transfer=cost.energy_j_per_transfer,
        tail_j=cost.tail_j,
        sender_fraction=cost.sender_fraction,
        receiver_fraction=cost.receiver_fraction,
        max_utilization=link.max_utilization,
    )


def problem_mode(graph: FlowGraph, stage: str, mode: str) -> str:
    """Name a mode so that no segment holds ops of two stages: each stage is a model file and a session of its own."""
    return mode if len(graph.stages) == 1 else f"{mode} ({stage})"


def check_boundaries(site: Site) -> None:
    """Refuse to add joules of a chip or board to joules of a wall plug: they leave out what the others count.

    Raises
    ------
    ProblemError
        There are several boundaries; the message names each device's.
    """
    inner = [d for d in site.devices if d.boundary not in _WALL]
    outer = [d for d in site.devices if d.boundary in _WALL]
    kinds = {d.boundary for d in inner}
    if (inner and outer) or len(kinds) > 1:
        listed = ", ".join(f"devices[{i}].boundary: {d.boundary} of {d.name!r}" for i, d in enumerate(site.devices))
        raise ProblemError(
            f"{site.file}: power figures are taken at different boundaries ({listed}); their joules do not add "
            "up. Give figures of one boundary: write the device's idle_w and modes in the site with the rest of the "
            "machine included, and declare its boundary"
        )
