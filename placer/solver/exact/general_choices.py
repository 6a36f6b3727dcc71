"""Ways to run a block of any shape, listed by depth-first search with a bound, each measured by the referee."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from placer.solver.exact.branch_choices import TooMany
from placer.solver.exact.structure import NOWHERE

if TYPE_CHECKING:
    from collections.abc import Callable

    from placer.solver.exact.measure import BlockMeter
    from placer.solver.exact.numbers import FlowNumbers
    from placer.solver.exact.prices import Prices
    from placer.solver.exact.rows import Array
    from placer.solver.exact.structure import Block


class GeneralSearch:
    """Places the inner ops one after the other; every partial price is a lower bound of its completions'.

    Exact so far: ops, transfers and conversions. Bounded: segments, by the distinct (level, place) pairs;
    the latency, by the longest path and by each device's work.
    """

    def __init__(
        self, numbers: FlowNumbers, prices: Prices, block: Block, limit: float, spend: Callable[[int], None]
    ) -> None:
        self.n = numbers
        self.flow = numbers.flow
        self.prices = prices
        self.block = block
        self.limit = limit
        self.spend = spend
        # Where seconds of a segment replace waiting it has a negative part; at most one segment per op.
        self.gain = np.minimum(prices.segment_busy, 0.0)
        sequence = [*block.inner] if block.exit == NOWHERE else [*block.inner, block.exit]
        self.sequence = sequence
        own = [prices.op[v] + self.gain for v in block.inner]
        rest = [float(o.min()) for o in own]
        if block.exit != NOWHERE:
            rest.append(float(self.gain.min(initial=0.0)))
        self.rest = np.append(np.cumsum(rest[::-1])[::-1], 0.0)
        self.place: dict[int, int] = {}
        self.level: dict[int, int] = {}
        self.end_s: dict[int, float] = {}
        self.groups: dict[tuple[int, int], int] = {}
        self.sent: dict[tuple[int, int], int] = {}
        self.load_s = np.zeros(len(numbers.index.devices))
        self.found: list[tuple[Array, tuple[int, ...]]] = []

    def run(self, meter: BlockMeter, a: int, z: int) -> tuple[list[tuple[Array, tuple[int, ...]]], bool]:
        """List the ways up to the limit with the joints at places `a` and `z`; also whether they are all."""
        self.meter = meter
        entry = self.block.entry
        if entry != NOWHERE:
            self.place[entry], self.level[entry], self.end_s[entry] = a, 0, 0.0
            if not self.flow.is_endpoint[entry]:
                self.groups[0, a] = 1
        self.z = z
        try:
            self._extend(0, 0.0, 0.0)
        except TooMany:
            return self.found, False
        return self.found, True

    def _extend(self, i: int, price: float, latency_s: float) -> None:
        self.spend(2)
        if i == len(self.sequence):
            inner = [self.place[v] for v in self.block.inner]
            ends = self.place.get(self.block.entry, NOWHERE), self.place.get(self.block.exit, NOWHERE)
            rows = self.meter.rows(ends[0], inner, ends[1])
            if rows is not None:
                self.found.append((rows, tuple(inner)))
            return
        v = self.sequence[i]
        last = v == self.block.exit
        places = [self.z] if last else [int(p) for p in np.flatnonzero(np.isfinite(self.prices.op[v]))]
        for p in places:
            self._try(i, v, p, 0.0 if last else float(self.prices.op[v, p]), price, latency_s)

    def _try(self, i: int, v: int, p: int, own: float, price: float, latency_s: float) -> None:
        """Put op v at place p, go on if the bound allows, and take it back."""
        n = self.n
        device = int(n.device_of[p])
        price += own + float(self.gain[p])
        start_s = 0.0
        level = 0
        begins = float(n.segment_s[p]) if not self.flow.is_endpoint[v] else 0.0
        sent = []
        for t in self.flow.inputs[v]:
            u = self.flow.tensors[t].producer
            q = self.place[u]
            level = max(level, self.level[u] + (q != p))
            arrival_s = self.end_s[u]
            if q != p:
                size = float(n.tensor_bytes[t, q])
                # A conversion is per mode, a transfer per device.
                key = (t, p if n.device_of[q] == device else -1 - device)
                if key not in self.sent:
                    # The share of a transfer is the largest among its readers: this reader's is a lower bound.
                    per_share = self.prices.transfer[q, p] + size * self.prices.transfer_byte[q, p]
                    price += self.flow.share[v] * float(per_share) + float(self.prices.blocked[q, p])
                self.sent[key] = self.sent.get(key, 0) + 1
                sent.append(key)
                arrival_s += begins + float(n.transfer_s[q, p] + size * n.byte_s[q, p])
            start_s = max(start_s, arrival_s)
        if not self.flow.inputs[v]:
            start_s = begins
        group = (level, p)
        if not self.flow.is_endpoint[v]:
            if not self.groups.get(group):
                price += self.flow.share[v] * float(self.prices.segment_share[p])
            self.groups[group] = self.groups.get(group, 0) + 1
        seconds = 0.0 if v == self.block.exit else float(n.seconds[v, p])
        self.load_s[device] += seconds
        self.place[v], self.level[v], self.end_s[v] = p, level, start_s + seconds
        latency_s = max(latency_s, start_s + seconds, float(self.load_s.max()))
        if price + self.prices.second * latency_s + self.rest[i + 1] <= self.limit:
            self._extend(i + 1, price, latency_s)
        self.load_s[device] -= seconds
        del self.place[v]
        if not self.flow.is_endpoint[v]:
            self.groups[group] -= 1
        for key in sent:
            self.sent[key] -= 1
            if not self.sent[key]:
                del self.sent[key]
