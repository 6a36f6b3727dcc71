"""A lower bound for blocks that are no parallel chains: one path priced exactly, the other ops on their own.

The latency of a block is at least that of any path through it, each change of place along it starts a segment
and moves a tensor; it is also at least what the entry's device works, from when the entry's segment starts until
the exit's ends, where both are on that device. All other ops pay their cheapest option. Weak where many ops are
off the path, but always valid; the enumeration and the search above it do the rest.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from placer.solver.exact.structure import NOWHERE

if TYPE_CHECKING:
    from placer.solver.exact.numbers import FlowNumbers
    from placer.solver.exact.pauses import Pauses
    from placer.solver.exact.prices import Prices
    from placer.solver.exact.rows import Array
    from placer.solver.exact.structure import Block


class GeneralBlock:
    """Bounds one block for every pair of places of its joints."""

    def __init__(self, numbers: FlowNumbers, block: Block, pauses: Pauses) -> None:
        self.numbers = numbers
        self.block = block
        self.path = _longest_path(numbers, block)
        self.rest = tuple(v for v in block.inner if v not in set(self.path))
        most = pauses.most_bytes(block)
        self._held_s = {(u, v): pauses.at_least(self._bytes(u, v).sum(axis=0), most) for u, v in pairwise(self.path)}

    def price(self, prices: Prices) -> Array:
        """Lower bound, (P + 1, P + 1); the last position stands for `NOWHERE`."""
        n, block = self.numbers, self.block
        count = len(n.places)
        # A segment's price without its seconds is negative where its seconds replace waiting.
        gain = np.minimum(prices.segment_busy, 0.0).min(initial=0.0)
        rest = float(sum(prices.op[v].min() for v in self.rest)) + gain * len(self.rest)
        bound = np.full((count + 1, count + 1), np.inf)
        along = self._along_path(prices) + rest
        rows = [count] if block.entry == NOWHERE else list(range(count))
        columns = [count] if block.exit == NOWHERE else list(range(count))
        bound[np.ix_(rows, columns)] = along
        if NOWHERE in (block.entry, block.exit):
            return bound
        ends = n.flow.is_endpoint[block.entry] or n.flow.is_endpoint[block.exit]
        for a in range(count):
            load = self._load(prices, a, gain)
            if ends:
                # Sources and sinks join no segment: nothing need leave the place for the segments to be others.
                bound[a, a] = max(along[a, a], load)
            else:
                whole = float(prices.op_full[list(block.inner), a].sum())
                bound[a, a] = min(whole, max(along[a, a], load + self._excursion(prices, a)))
        return bound

    def _excursion(self, prices: Prices, a: int) -> float:
        """Least price of leaving the joints' place and coming back, beside the ops and their seconds.

        Something goes out, something comes back, something is started elsewhere, and the exit's segment is another
        than the entry's.
        """
        n, block = self.numbers, self.block
        away = np.arange(len(n.places)) != a
        share = min(n.flow.share[v] for v in (*block.inner, block.exit))
        tensors = [*block.tensors, *(t for v in block.inner for t in n.flow.outputs[v] if n.flow.tensors[t].consumers)]
        least = n.tensor_bytes[tensors].min(axis=0)
        out = share * (prices.transfer[a] + least[a] * prices.transfer_byte[a]) + prices.blocked[a]
        back = share * (prices.transfer[:, a] + least * prices.transfer_byte[:, a]) + prices.blocked[:, a]
        start = np.maximum(prices.segment(share), 0.0)
        return float(
            out[away].min(initial=np.inf) + back[away].min(initial=np.inf) + start[away].min(initial=np.inf)
        ) + (max(0.0, float(self._start(prices, block.exit)[a])))

    def _load(self, prices: Prices, a: int, gain: float) -> float:
        """Every op its cheapest place, where the seconds on the joints' device count as latency."""
        n = self.numbers
        inner = list(self.block.inner)
        busy = prices.second * n.seconds[inner] * (n.device_of == n.device_of[a])
        return float((prices.op[inner] + busy).min(axis=1).sum()) + gain * len(inner)

    def _along_path(self, prices: Prices) -> Array:
        """Cheapest way along the path for each pair of joint places, without the joints' own ops."""
        n, block = self.numbers, self.block
        count = len(n.places)
        eye = np.eye(count, dtype=bool)
        path = self.path
        # (start, place): the start is the entry's place, or a single row where there is no entry.
        best = np.where(eye, 0.0, np.inf)
        if block.entry == NOWHERE:
            best = (prices.op_full[path[0]] + self._start(prices, path[0]))[None, :]
        for u, v in pairwise(path):
            change = np.where(eye, 0.0, self._edge(prices, u, v) + self._start(prices, v)[None, :])
            best = (best[:, :, None] + change).min(axis=1)
            if v != block.exit:
                best = best + prices.op_full[v]
        return best.min(axis=1, keepdims=True) if block.exit == NOWHERE else best

    def _start(self, prices: Prices, v: int) -> Array:
        """Price of the segment that begins with an op, (P,)."""
        n = self.numbers
        if n.flow.is_endpoint[v]:
            return np.zeros(len(n.places))
        return prices.segment(n.flow.share[v]) + prices.second * n.segment_s

    def _edge(self, prices: Prices, u: int, v: int) -> Array:
        """Price of moving what one op makes and the other reads, (P, P)."""
        n = self.numbers
        total = np.zeros_like(prices.blocked)
        longest = np.zeros_like(prices.blocked)
        for own in self._bytes(u, v):
            size = own[:, None]
            total = total + n.flow.share[v] * (prices.transfer + size * prices.transfer_byte)
            longest = np.maximum(longest, n.transfer_s + size * n.byte_s)
        moved: Array = total + prices.second * longest + prices.held * self._held_s[u, v] + prices.blocked
        return moved

    def _bytes(self, u: int, v: int) -> Array:
        """Give (tensors, P) bytes of what one op makes and the other reads."""
        n = self.numbers
        found: Array = n.tensor_bytes[[t for t in n.flow.outputs[u] if v in n.flow.tensors[t].consumers]]
        return found


def _longest_path(numbers: FlowNumbers, block: Block) -> tuple[int, ...]:
    """Path through the block with most seconds on average, joints included where they exist."""
    flow = numbers.flow
    work = np.where(numbers.available, numbers.seconds, 0).sum(axis=1) / np.maximum(numbers.available.sum(axis=1), 1)
    inside = {v for v in (block.entry, *block.inner, block.exit) if v != NOWHERE}
    longest: dict[int, tuple[float, int]] = {}
    sequence = [v for v in (block.entry, *block.inner, block.exit) if v != NOWHERE]
    for v in sequence:
        before = [(longest[u][0], u) for u in flow.predecessors[v] if u in inside]
        top, parent = max(before, default=(0.0, NOWHERE))
        longest[v] = (top + float(work[v]), parent)
    end = block.exit if block.exit != NOWHERE else max(sequence, key=lambda v: longest[v][0])
    path = [end]
    while longest[path[-1]][1] != NOWHERE:
        path.append(longest[path[-1]][1])
    return tuple(reversed(path))
