"""What the state of its connections adds to a flow's messages: what a problem's links, linear in bytes, leave out.

Tensors that leave a segment, or a source, for one device together are one message. The first of them bears what holds
the message back (`placer.transfer_time.held_s`); the others wait behind it.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from math import inf
from typing import TYPE_CHECKING

from placer.transfer_time import Path, held_s, least_paused_s, wire_bytes
from profiles.energy import FRAMING

if TYPE_CHECKING:
    from placer.index import FlowIndex, ProblemIndex
    from placer.segments import Layout
    from placer.transfer_time import Connections


def path_of(index: ProblemIndex, link: int) -> Path:
    """Give what a connection over a problem's link runs over: the round trip is the link's and its return's latency.

    Parameters
    ----------
    index
        The problem.
    link
        Position of the link; where none leads back, the way back takes as long.
    """
    there = index.links[link]
    back = index.link(index.device_position[there.target], index.device_position[there.source]) or there
    return Path(round_trip_s=there.latency_s + back.latency_s, bytes_per_s=there.bytes_per_s * FRAMING)


def messages(flow: FlowIndex, layout: Layout) -> list[list[int]]:
    """Say which of a layout's transfers, by position, are one message: what leaves a unit for one device."""
    found: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for i, x in enumerate(layout.transfers):
        producer = flow.tensors[x.tensor].producer
        segment = layout.segment_of[producer]
        # Sources are no segments: each is a unit of its own.
        found[segment if segment >= 0 else -1 - producer, x.target].append(i)
    return list(found.values())


def hold(index: ProblemIndex, flow: FlowIndex, layout: Layout, connections: Connections) -> Layout:
    """Give a layout whose messages are held back as the state of the connections has it.

    Parameters
    ----------
    index, flow, layout
        The problem, one of its flows, and what a choice for it amounts to.
    connections
        On busy ones nothing is held back.
    """
    if connections == "busy":
        return layout
    transfers = list(layout.transfers)
    for message in messages(flow, layout):
        parts = [transfers[i] for i in message]
        size, share = sum(x.bytes for x in parts), max(x.share for x in parts)
        seconds = message_held_s(flow, path_of(index, parts[0].link), size, share, connections)
        transfers[message[0]] = dataclasses.replace(parts[0], held_s=seconds)
    return dataclasses.replace(layout, transfers=tuple(transfers))


def message_held_s(flow: FlowIndex, path: Path, size_bytes: float, share: float, connections: Connections) -> float:
    """Give the seconds by which the state of its connection holds one message of a flow back.

    Parameters
    ----------
    flow, path
        The flow, and what the connection runs over.
    size_bytes, share
        All that the message holds, and the largest share among its consumers.
    connections
        As `hold`. A flow of rate 0 does not pause: its requests follow each other at once.
    """
    if connections == "paused" and flow.flow.rate_hz == 0:
        return 0.0
    # Data that come seldom find what longer pauses left.
    per_s = flow.flow.rate_hz * share
    return held_s(wire_bytes(size_bytes), path, connections, 1 / per_s if per_s > 0 else inf)


def least_held_s(flow: FlowIndex, path: Path, least_bytes: float, most_bytes: float) -> float:
    """Bound from below by what seconds a message of a flow is held back on paused connections.

    Parameters
    ----------
    flow, path
        The flow, and what the connection runs over.
    least_bytes, most_bytes
        What the message holds at least and at most; its data may come as seldom as any of the flow.
    """
    per_s = flow.flow.rate_hz * max(flow.share)
    if per_s == 0:
        return 0.0
    return least_paused_s(wire_bytes(least_bytes), wire_bytes(most_bytes), path, 1 / per_s)
