"""Which segments, transfers and conversions a choice of options gives rise to (docs/problem-format.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from placer.index import FlowIndex, ProblemIndex


@dataclass(frozen=True, slots=True)
class Segment:
    """Ops of one flow that run together on one device in one mode, as one execution."""

    device: int
    mode: int
    level: int
    ops: tuple[int, ...]
    seconds: float
    """Seconds of one execution: its start in this mode and its ops' seconds."""
    share: float
    """The largest share among its ops."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """A tensor sent once from its producer's device to another device that needs it."""

    tensor: int
    link: int
    source: int
    target: int
    bytes: float
    share: float
    """The largest share among the consumers on the receiving device."""
    held_s: float = 0.0
    """Seconds that its connection's state holds it back, and with it what comes after it on the link."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """A tensor handed to another mode on its producer's device, once per tensor and mode."""

    tensor: int
    device: int
    mode: int
    seconds: float
    joules: float
    share: float


@dataclass(frozen=True, slots=True)
class Layout:
    """What a choice amounts to, before any clock runs."""

    segments: tuple[Segment, ...]
    segment_of: tuple[int, ...]
    """For each op its segment, or -1 for sources and sinks."""
    transfers: tuple[Transfer, ...]
    conversions: tuple[Conversion, ...]
    forbidden: tuple[tuple[int, int], ...]
    """(tensor, device) pairs that the choice needs but no link or a `not_on` rule allows."""


def levels(flow: FlowIndex, choice: Sequence[int]) -> list[int]:
    """Level of each op: over its producers the largest level, one more where device or mode differ."""
    place = [(o.device, o.mode) for o in (flow.options[v][choice[v]] for v in range(flow.size))]
    level = [0] * flow.size
    for v in flow.topological:
        best = 0
        for u in flow.predecessors[v]:
            step = level[u] + (place[u] != place[v])
            best = max(best, step)
        level[v] = best
    return level


def lay_out(index: ProblemIndex, flow: FlowIndex, choice: Sequence[int]) -> Layout:
    """Group the ops of a choice into segments and list what must move between them.

    Parameters
    ----------
    index, flow
        The problem and one of its flows.
    choice
        One option position per op, in file order.
    """
    chosen = [flow.options[v][o] for v, o in enumerate(choice)]
    place = [(o.device, o.mode) for o in chosen]
    level = levels(flow, choice)
    endpoint = flow.is_endpoint

    root = list(range(flow.size))

    def find(v: int) -> int:
        while root[v] != v:
            root[v] = root[root[v]]
            v = root[v]
        return v

    for v in range(flow.size):
        for u in flow.predecessors[v]:
            if level[u] == level[v] and place[u] == place[v] and not endpoint[u] and not endpoint[v]:
                a, b = find(u), find(v)
                # The smallest position stays root, so segments come out in file order.
                root[max(a, b)] = min(a, b)

    members: dict[int, list[int]] = {}
    for v in range(flow.size):
        if not endpoint[v]:
            members.setdefault(find(v), []).append(v)
    segment_of = [-1] * flow.size
    segments: list[Segment] = []
    for ops in members.values():
        for v in ops:
            segment_of[v] = len(segments)
        device, mode = place[ops[0]]
        seconds = index.start[device, mode][0] + sum(chosen[v].seconds for v in ops)
        share = max(flow.share[v] for v in ops)
        segments.append(Segment(device, mode, level[ops[0]], tuple(ops), seconds, share))

    transfers, conversions, forbidden = _movements(index, flow, choice, place)
    return Layout(tuple(segments), tuple(segment_of), transfers, conversions, forbidden)


def _movements(
    index: ProblemIndex, flow: FlowIndex, choice: Sequence[int], place: Sequence[tuple[int, int]]
) -> tuple[tuple[Transfer, ...], tuple[Conversion, ...], tuple[tuple[int, int], ...]]:
    """List transfers and conversions in file order of the tensors, then of device and mode."""
    transfers: list[Transfer] = []
    conversions: list[Conversion] = []
    forbidden: list[tuple[int, int]] = []
    for t, tensor in enumerate(flow.tensors):
        device, mode = place[tensor.producer]
        if device in tensor.not_on:
            forbidden.append((t, device))
        away: dict[int, float] = {}
        converted: dict[int, float] = {}
        for c in tensor.consumers:
            target, wanted = place[c]
            if target != device:
                away[target] = max(away.get(target, 0.0), flow.share[c])
            elif wanted != mode:
                converted[wanted] = max(converted.get(wanted, 0.0), flow.share[c])
        size = flow.bytes_of(t, choice[tensor.producer])
        for target in sorted(away, key=lambda d: index.link_at.get((device, d), -1)):
            link = index.link_at.get((device, target))
            if link is None or target in tensor.not_on:
                forbidden.append((t, target))
            if link is not None:
                transfers.append(Transfer(t, link, device, target, size, away[target]))
        for wanted in sorted(converted):
            s_per_byte, j_per_byte = index.conversion.get((device, mode, wanted), (0.0, 0.0))
            if s_per_byte or j_per_byte:
                conversions.append(
                    Conversion(t, device, wanted, s_per_byte * size, j_per_byte * size, converted[wanted])
                )
    return tuple(transfers), tuple(conversions), tuple(forbidden)
