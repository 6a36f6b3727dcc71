"""Runs the clock over a layout: when each segment starts and each tensor arrives (docs/problem-format.md)."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from placer.index import FlowIndex, ProblemIndex
    from placer.segments import Layout

_COMPLETION, _ARRIVAL = 0, 1


@dataclass(frozen=True, slots=True)
class Schedule:
    """The times of one inference alone on an empty site, in seconds after its data arose."""

    latency_s: float
    segment_start_s: tuple[float, ...]
    segment_end_s: tuple[float, ...]
    transfer_request_s: tuple[float, ...]
    transfer_arrival_s: tuple[float, ...]
    op_end_s: tuple[float, ...]
    """For each op, when its segment ends; for a source or sink, when it is complete."""


def serial_latency_s(index: ProblemIndex, layout: Layout) -> float:
    """Latency of a flow whose `latency` is "serial": everything added up, in seconds."""
    links = index.links
    return (
        sum(s.seconds for s in layout.segments)
        + sum(links[x.link].latency_s + x.held_s + x.bytes / links[x.link].bytes_per_s for x in layout.transfers)
        + sum(c.seconds for c in layout.conversions)
    )


def begin_s(index: ProblemIndex, flow: FlowIndex, words: Mapping[str, float]) -> dict[int, float]:
    """Give when data leave that wait for a word, in seconds after the others, by the op that stands for their source.

    Parameters
    ----------
    index, flow
        The problem and one of its flows.
    words
        When the word is at each device that waits for it.
    """
    at = {v: index.devices[flow.options[v][0].device].name for v in range(flow.size) if flow.is_source[v]}
    return {v: words[device] for v, device in at.items() if device in words}


def run_schedule(
    index: ProblemIndex, flow: FlowIndex, layout: Layout, begins_s: Mapping[int, float] | None = None
) -> Schedule:
    """Simulate one inference: devices run one segment at a time, links serialize, never idle when ready.

    At equal times completions come first, then arrivals, then starts. Among ready segments of a device the
    one whose first op stands first in the file starts; requests of one instant enter a link in file order.

    Parameters
    ----------
    index, flow, layout
        The problem, one of its flows, and what a choice for it amounts to.
    begins_s
        When the data of sources leave, by op, where that is not at 0 as plans have it.
    """
    return _Clock(index, flow, layout, begins_s or {}).run()


class _Clock:
    """State of one simulated inference. Units are the segments, then the sources and sinks."""

    def __init__(self, index: ProblemIndex, flow: FlowIndex, layout: Layout, begins_s: Mapping[int, float]) -> None:
        self.index, self.flow, self.layout, self.begins_s = index, flow, layout, begins_s
        segments = layout.segments
        self.unit_of = list(layout.segment_of)
        self.members: list[tuple[int, ...]] = [s.ops for s in segments]
        for v, segment in enumerate(layout.segment_of):
            if segment < 0:
                self.unit_of[v] = len(self.members)
                self.members.append((v,))
        n = len(self.members)
        self.waits_for = [0] * n
        self.end_s = [0.0] * n
        self.start_s = [0.0] * len(segments)
        self.transfers_of: dict[int, list[int]] = {}
        for i, x in enumerate(layout.transfers):
            self.transfers_of.setdefault(x.tensor, []).append(i)
        self.conversion_s = {(c.tensor, c.mode): c.seconds for c in layout.conversions}
        # Who waits for a tensor: on its own device by conversion delay, elsewhere by transfer.
        self.local: list[list[tuple[int, float]]] = [[] for _ in flow.tensors]
        self.remote: dict[int, list[int]] = {i: [] for i in range(len(layout.transfers))}
        self._wire()
        self.events: list[tuple[float, int, int, tuple[int, ...]]] = []
        self.sequence = 0
        self.ready: dict[int, list[int]] = {}
        self.busy: set[int] = set()
        self.medium_free_s = [0.0] * len(index.media)
        self.request_s = [0.0] * len(layout.transfers)
        self.arrival_s = [0.0] * len(layout.transfers)
        self.requests: list[int] = []

    def _wire(self) -> None:
        """Fill who waits for which tensor; a segment waits once for each tensor made outside it."""
        place: dict[int, tuple[int, int]] = {}
        for s in self.layout.segments:
            for v in s.ops:
                place[v] = (s.device, s.mode)
        for v in range(self.flow.size):
            if v not in place:
                only = self.flow.options[v][0]
                place[v] = (only.device, only.mode)
        for t, tensor in enumerate(self.flow.tensors):
            u = tensor.producer
            by_target = {self.layout.transfers[i].target: i for i in self.transfers_of.get(t, ())}
            waiting: set[int] = set()
            for c in tensor.consumers:
                unit = self.unit_of[c]
                if unit == self.unit_of[u] or unit in waiting:
                    continue
                waiting.add(unit)
                if place[c][0] == place[u][0]:
                    self.waits_for[unit] += 1
                    delay = 0.0 if place[c][1] == place[u][1] else self.conversion_s.get((t, place[c][1]), 0.0)
                    self.local[t].append((unit, delay))
                elif place[c][0] in by_target:
                    self.waits_for[unit] += 1
                    self.remote[by_target[place[c][0]]].append(unit)
                # A pair without a link is reported as forbidden by the layout; the clock passes over it.

    def run(self) -> Schedule:
        """Process events until none is left."""
        for unit, count in enumerate(self.waits_for):
            if count == 0:
                self._become_ready(unit, self.begins_s.get(self.members[unit][0], 0.0))
        now = 0.0
        while True:
            # Also at time 0: what sources hand on at once arrives before anything starts.
            while self.events and self.events[0][0] == now:
                _, kind, _, units = heapq.heappop(self.events)
                if kind == _COMPLETION:
                    self._complete(units[0], now)
                else:
                    for unit in units:
                        self._arrive(unit, now)
                next_is_completion = self.events and self.events[0][:2] == (now, _COMPLETION)
                if self.requests and not next_is_completion:
                    self._request_all(now)
            self._start_all(now)
            if not self.events:
                break
            now = self.events[0][0]
        last = [self.end_s[self.unit_of[v]] for v in range(self.flow.size) if not self.flow.successors[v]]
        count = len(self.layout.segments)
        return Schedule(
            max(last),
            tuple(self.start_s),
            tuple(self.end_s[:count]),
            tuple(self.request_s),
            tuple(self.arrival_s),
            tuple(self.end_s[unit] for unit in self.unit_of),
        )

    def _push(self, time_s: float, kind: int, units: tuple[int, ...]) -> None:
        self.sequence += 1
        heapq.heappush(self.events, (time_s, kind, self.sequence, units))

    def _become_ready(self, unit: int, now: float) -> None:
        if unit < len(self.layout.segments):
            heapq.heappush(self.ready.setdefault(self.layout.segments[unit].device, []), unit)
        else:
            self._push(now, _COMPLETION, (unit,))

    def _start_all(self, now: float) -> None:
        for device in sorted(self.ready):
            queue = self.ready[device]
            if queue and device not in self.busy:
                unit = heapq.heappop(queue)
                self.busy.add(device)
                self.start_s[unit] = now
                self._push(now + self.layout.segments[unit].seconds, _COMPLETION, (unit,))

    def _complete(self, unit: int, now: float) -> None:
        self.end_s[unit] = now
        if unit < len(self.layout.segments):
            self.busy.discard(self.layout.segments[unit].device)
        for v in self.members[unit]:
            for t in self.flow.outputs[v]:
                self.requests.extend(self.transfers_of.get(t, ()))
                for waiting, delay in self.local[t]:
                    self._push(now + delay, _ARRIVAL, (waiting,))

    def _request_all(self, now: float) -> None:
        for i in sorted(self.requests):
            x = self.layout.transfers[i]
            link = self.index.links[x.link]
            medium = self.index.medium_of[x.link]
            begin = max(now, self.medium_free_s[medium])
            self.medium_free_s[medium] = begin + x.held_s + x.bytes / link.bytes_per_s
            self.request_s[i] = now
            self.arrival_s[i] = self.medium_free_s[medium] + link.latency_s
            self._push(self.arrival_s[i], _ARRIVAL, tuple(self.remote[i]))
        self.requests.clear()

    def _arrive(self, unit: int, now: float) -> None:
        self.waits_for[unit] -= 1
        if self.waits_for[unit] == 0:
            self._become_ready(unit, now)
